"""The errors a user can cause, each with one sentence that says what to do.

    DynamicViTError
    ├── SettingError      a keep ratio, selector, model name or model description that makes no sense
    ├── ImageError        a picture that cannot be read or cannot be used
    └── CheckpointError   a weight file that is missing, unsafe, damaged or of another model
        └── DownloadError a weight file that could not be fetched

Anything else that is raised is a bug of ours.
"""


class DynamicViTError(Exception):
    """Base of every error whose message is written for the user."""


class SettingError(DynamicViTError, ValueError):
    """A keep ratio, selector, model name or model description is not valid."""


class ImageError(DynamicViTError, ValueError):
    """A picture cannot be decoded or has a shape that the model cannot take."""


class CheckpointError(DynamicViTError):
    """A weight file is missing, unsafe, damaged or belongs to another model."""


class DownloadError(CheckpointError):
    """A weight file could not be downloaded."""
