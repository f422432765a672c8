"""The errors a user can cause, each with one sentence that says what to do.

    DynamicViTError
    ├── SettingError      a keep ratio, selector, model name or model description that makes no sense
    ├── ImageError        an image that cannot be read or cannot be used
    ├── VideoError        a clip that cannot be read or cannot be written
    ├── CheckpointError   a weight file that is missing, unsafe, damaged or of another model
    │   └── DownloadError a weight file that could not be fetched
    ├── TrainingError     a training run that cannot go on
    ├── ReportError       a saved analysis that cannot be read, or that does not come out the same again
    └── OutputError       a file that cannot be written, for want of room or of permission

Anything else that is raised is a bug of ours.
"""


class DynamicViTError(Exception):
    """Base of every error whose message is written for the user."""


class SettingError(DynamicViTError, ValueError):
    """A keep ratio, selector, model name or model description is not valid."""


class ImageError(DynamicViTError, ValueError):
    """An image cannot be decoded or has a shape that the model cannot take."""


class VideoError(DynamicViTError, ValueError):
    """A clip cannot be read, or cannot be written here."""


class CheckpointError(DynamicViTError):
    """A weight file is missing, unsafe, damaged or belongs to another model."""


class DownloadError(CheckpointError):
    """A weight file could not be downloaded."""


class TrainingError(DynamicViTError):
    """A training run cannot go on, for example because its loss is not finite."""


class ReportError(DynamicViTError):
    """A saved analysis cannot be read, or it does not come out the same again."""


class OutputError(DynamicViTError, OSError):
    """A file cannot be written: the disk is full, or the path is not to be written to."""
