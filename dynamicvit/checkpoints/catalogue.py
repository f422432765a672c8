"""The checkpoints that the authors of DynamicViT published and that this project can run.

They give no sizes and no checksums, and only one of the file names is known (LV-ViT-M's); the others here follow it.
A download is therefore verified by what is in it: see :mod:`dynamicvit.checkpoints.files`.

Source: model zoo of github.com/raoyongming/DynamicViT (MIT licence), accuracies included.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTHORS_REPOSITORY = "https://github.com/raoyongming/DynamicViT"


@dataclass(frozen=True)
class PublishedCheckpoint:
    """One published weight file.

    Attributes:
        title: the authors' name for it.
        model: the name of the model that it must turn out to be.
        keep_ratio: base keep ratio of the training; the file itself does not say.
        file_name: the name under which this project stores and finds it.
        urls: addresses of the file, the one to try first first.
        pages: addresses for a browser, in the same order.
        top1_percent: ImageNet-1k validation accuracy at ``keep_ratio``, as the authors report it.
        licence: of the repository that publishes it.
    """

    title: str
    model: str
    keep_ratio: float
    file_name: str
    urls: tuple[str, ...]
    pages: tuple[str, ...]
    top1_percent: float
    licence: str = "MIT"


def _published(
    title: str, model: str, file_name: str, top1_percent: float, tsinghua_id: str, google_id: str
) -> PublishedCheckpoint:
    return PublishedCheckpoint(
        title=title,
        model=model,
        keep_ratio=float(title.rpartition("/")[2]),
        file_name=file_name,
        urls=(
            f"https://cloud.tsinghua.edu.cn/f/{tsinghua_id}/?dl=1",
            f"https://drive.usercontent.google.com/download?id={google_id}&export=download&confirm=t",
        ),
        pages=(
            f"https://cloud.tsinghua.edu.cn/f/{tsinghua_id}/",
            f"https://drive.google.com/file/d/{google_id}/view",
        ),
        top1_percent=top1_percent,
    )


PUBLISHED = (
    _published(
        "DynamicViT-DeiT-256/0.7",
        "dynamicvit_deit_256_patch16_224",
        "dynamic-vit_deit-256_r0.7.pth",
        76.53,
        "b0e1ff6af1004039855e",
        "1fpdTNRZtGOW25UwOadj1iUdjqmu88WkO",
    ),
    _published(
        "DynamicViT-DeiT-S/0.7",
        "dynamicvit_deit_small_patch16_224",
        "dynamic-vit_deit-s_r0.7.pth",
        79.32,
        "698896dfbcea430b9591",
        "1H5kHHagdqo4emk9CgjfA7DA62XJr8Yc1",
    ),
    _published(
        "DynamicViT-DeiT-B/0.7",
        "dynamicvit_deit_base_patch16_224",
        "dynamic-vit_deit-b_r0.7.pth",
        81.43,
        "660f27ddb6b945a797a8",
        "1J9PCPiOSHmzRiWw370GDYJPEZ8r4uU3M",
    ),
    _published(
        "DynamicViT-LVViT-S/0.5",
        "dynamicvit_lvvit_small_patch16_224",
        "dynamic-vit_lv-s_r0.5.pth",
        81.97,
        "635cb172312749e39cf2",
        "1kPe3MhtYHNdG7natrU20xcAqodO6-Z58",
    ),
    _published(
        "DynamicViT-LVViT-S/0.7",
        "dynamicvit_lvvit_small_patch16_224",
        "dynamic-vit_lv-s_r0.7.pth",
        83.08,
        "d732a3511dd64db598e1",
        "1dNloEsuEiTi592SdM_ELC36kOJ7aaF-3",
    ),
    _published(
        "DynamicViT-LVViT-M/0.7",
        "dynamicvit_lvvit_medium_patch16_224",
        "dynamic-vit_lv-m_r0.7.pth",
        83.82,
        "b8d1efdfc41d4777903e",
        "1dNab1B5ZOTVNpnpO6H1TsXKFM8BAlA3I",
    ),
)
