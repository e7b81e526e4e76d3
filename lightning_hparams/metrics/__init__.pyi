from .batch_mean import BatchMean as BatchMean
from .calibration import (
    CalibrationCounts as CalibrationCounts,
    calibration_error as calibration_error,
    confidences as confidences,
)
from .classification import classification_scores as classification_scores
from .confusion import (
    ConfusionCounts as ConfusionCounts,
    class_recall as class_recall,
    confusion_counts as confusion_counts,
    dice_score as dice_score,
    iou_score as iou_score,
    mean_present as mean_present,
    pixel_accuracy as pixel_accuracy,
    segmentation_scores as segmentation_scores,
)
from .detections import (
    BoxConfusion as BoxConfusion,
    DetectionScores as DetectionScores,
    average_precisions as average_precisions,
    best_f1 as best_f1,
    box_confusion as box_confusion,
)
from .regression import RegressionErrors as RegressionErrors, ValueCounts as ValueCounts
from .score_counts import BoxScoreCounts as BoxScoreCounts, ScoreCounts as ScoreCounts
