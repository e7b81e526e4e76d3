from .augment import (
    Augmentation as Augmentation,
    CropFlipJitter as CropFlipJitter,
    augmented as augmented,
)
from .base import MaskDataset as MaskDataset, SegmentationData as SegmentationData
from .demo import (
    BrainTissueData as BrainTissueData,
    ShapesDataset as ShapesDataset,
    SyntheticShapesData as SyntheticShapesData,
    brain_slices as brain_slices,
    brain_split as brain_split,
)
from .guess import voc_palette as voc_palette
from .images import read_image as read_image
from .mask_folder import FileDataset as FileDataset, MaskFolderData as MaskFolderData
from .masks import MaskReader as MaskReader
from .pictures import read_header as read_header
