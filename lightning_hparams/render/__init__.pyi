from .calibration import calibration_picture as calibration_picture
from .classification import (
    classification_picture as classification_picture,
    classification_truth as classification_truth,
)
from .colors import (
    ERROR_COLORS as ERROR_COLORS,
    MARGIN as MARGIN,
    Color as Color,
    Picture as Picture,
    as_color as as_color,
    palette as palette,
)
from .confusion import confusion_picture as confusion_picture
from .detection import (
    detection_picture as detection_picture,
    detection_truth as detection_truth,
)
from .images import (
    Encoded as Encoded,
    ValueRange as ValueRange,
    encode as encode,
    guess_range as guess_range,
    panel_size as panel_size,
    sheet as sheet,
    sheets as sheets,
    to_rgb as to_rgb,
    value_extremes as value_extremes,
)
from .mask_truth import segmentation_truth as segmentation_truth
from .regression import (
    regression_picture as regression_picture,
    regression_truth as regression_truth,
)
from .segmentation import (
    error_map as error_map,
    overlay as overlay,
    segmentation_pictures as segmentation_pictures,
)
from .text import (
    LINE as LINE,
    Entry as Entry,
    font as font,
    framed as framed,
    phrase as phrase,
    shortened as shortened,
    text_width as text_width,
    write as write,
)
from .values import values_picture as values_picture
