from .augment import (
    Augmentation as Augmentation,
    CropFlipJitter as CropFlipJitter,
    augmented as augmented,
    augmented_boxes as augmented_boxes,
    augmented_image as augmented_image,
)
from .balance import BalancedSampler as BalancedSampler, balanced_weights as balanced_weights
from .base import (
    LabelDataset as LabelDataset,
    MaskDataset as MaskDataset,
    SegmentationData as SegmentationData,
    VisionData as VisionData,
    collate as collate,
)
from .box_files import BoxFileData as BoxFileData, BoxFileDataset as BoxFileDataset
from .brain import (
    BrainTissueData as BrainTissueData,
    brain_slices as brain_slices,
    brain_split as brain_split,
)
from .coco import CocoData as CocoData
from .digits import DigitsData as DigitsData, digit_images as digit_images
from .files import FileData as FileData, LabelFileDataset as LabelFileDataset
from .guess import voc_palette as voc_palette
from .image_folder import ImageFolderData as ImageFolderData
from .images import read_image as read_image
from .mask_folder import FileDataset as FileDataset, MaskFolderData as MaskFolderData
from .masks import MaskReader as MaskReader
from .overview import (
    ImageFacts as ImageFacts,
    SplitSurvey as SplitSurvey,
    Survey as Survey,
    survey as survey,
)
from .pictures import read_header as read_header
from .public import Cifar10Data as Cifar10Data, OxfordPetData as OxfordPetData
from .recognition import data_in as data_in
from .shapes import ShapesDataset as ShapesDataset, SyntheticShapesData as SyntheticShapesData
from .voc import VocData as VocData
