"""Stored features are those of the crop that is asked for."""

import torch

from dynamicvit.training.feature_cache import FeatureCache
from dynamicvit.training.plan import Crop


def test_each_crop_gets_its_own_features_back(tmp_path):
    cache = FeatureCache(tmp_path / "cache", photos=3, crops=2)
    crops = cache.all_crops(32)
    assert len(set(crops)) == 6
    assert not cache.is_complete
    features = {"map": torch.arange(12.0).reshape(6, 2), "mean": torch.arange(6.0)}
    cache.create({"map": (2,), "mean": ()})
    cache.write(crops[3:], {name: values[3:] for name, values in features.items()})
    cache.write(crops[:3], {name: values[:3] for name, values in features.items()})
    cache.finish()
    assert cache.is_complete
    row = crops.index(Crop(2, 1, 32))
    assert torch.equal(cache.read(Crop(2, 1, 32))["map"], features["map"][row].half())
    assert cache.read(Crop(2, 1, 32))["mean"] == features["mean"][row]
