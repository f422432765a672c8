"""The training forward of ConvNeXt and Swin, its loss and gradients equal the released ones under the same noise."""

import pytest
import torch
from goldens import TOLERANCE, golden, golden_model

from dynamicvit.training.choice import TrainingChoice
from dynamicvit.training.sparsify import LossWeights, sparsification_loss

MODELS = ["convnext_mini", "swin_mini"]


def by_position(tensor):
    """Bring (B, 2, H, W) noise of ConvNeXt to (B, N, 2); Swin's has that shape."""
    return tensor.flatten(2).transpose(1, 2) if tensor.ndim == 4 else tensor


def forward(name):
    file, model = golden(name), golden_model(name).train()
    noise = [by_position(file[f"train:stage{stage}.noise"]) for stage in range(3)]
    return model, model.forward_training(file["input"], TrainingChoice(noise))


def loss_of(name, output):
    file = golden(name)
    setting = file.metadata["train_losses"]["main"]
    return sparsification_loss(
        output,
        file["train:soft_targets"],
        file["train:teacher_cls"],
        file["train:teacher_features"].reshape(output.token_outputs.shape),
        setting["keep_ratio"],
        weights=LossWeights(setting["clf_weight"], setting["ratio_weight"], setting["distill_weight"]),
        token_term="mse_all",
    )


@pytest.mark.parametrize("name", MODELS)
def test_training_forward_equals_the_released_one(name):
    file = golden(name)
    _, output = forward(name)
    torch.testing.assert_close(output.logits, file["train:cls"], **TOLERANCE)
    features = file["train:features"].reshape(output.token_outputs.shape)
    torch.testing.assert_close(output.token_outputs, features, **TOLERANCE)
    for stage, decision in enumerate(output.decisions):
        expected = file[f"train:stage{stage}.decision"].flatten(1)
        assert torch.equal(decision > 0.5, expected > 0.5)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_equals_the_released_one(name):
    assert golden(name).metadata["train_losses"]["main"]["ratio_weight"] == 10
    total, parts = loss_of(name, forward(name)[1])
    result = torch.stack([total, *(parts[name] for name in ("classification", "ratio", "logits_kl", "tokens"))])
    torch.testing.assert_close(result, golden(name)["train:loss.main"], **TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_gradient_of_every_parameter_has_the_released_norm(name):
    file = golden(name)
    model, output = forward(name)
    loss_of(name, output)[0].backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    assert set(gradients) == set(file.metadata["grad_names"])
    norms = [gradients[key].norm() if gradients[key] is not None else -1 for key in file.metadata["grad_names"]]
    torch.testing.assert_close(torch.tensor(norms), file["train:grad_norms"], atol=1e-5, rtol=1e-4)
