"""The training forward, its losses and gradients equal the released ones under the same Gumbel noise."""

import pytest
import torch
from goldens import TOLERANCE, golden, golden_model
from timm.data.mixup import mixup_target

from dynamicvit.training.choice import TrainingChoice
from dynamicvit.training.sparsify import LossWeights, sparsification_loss

FAMILIES = ["deit", "lvvit"]
SMOOTHING = {"smooth0.1": 0.1, "ce": 0.0}  # of hard targets
LOSSES = ["main", "kl_token", "batch_ratio", "heavy_ratio", "no_clf", "smoothed", "hard"]


def forward(family):
    file, model = golden("training"), golden_model(f"{family}_mini").train()
    noise = [file[f"{family}:stage{stage}.noise"] for stage in range(3)]
    return model, model.forward_training(file[f"{family}:input"], TrainingChoice(noise))


def loss_of(family, name, output):
    file = golden("training")
    setting = file.metadata[f"{family}:losses"][name]
    targets = file[f"{family}:soft_targets"]
    if setting["criterion"] in SMOOTHING:
        targets = mixup_target(
            file[f"{family}:hard_targets"], targets.shape[1], smoothing=SMOOTHING[setting["criterion"]]
        )
    return sparsification_loss(
        output,
        targets,
        file[f"{family}:teacher_cls"],
        file[f"{family}:teacher_tokens"],
        setting["keep_ratio"],
        weights=LossWeights(setting["clf_weight"], setting["ratio_weight"], setting["distill_weight"]),
        token_term="mse" if setting["mse_token"] else "kl",
        batch_ratio=setting["dynamic"],
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_training_forward_equals_the_released_one(family):
    file = golden("training")
    _, output = forward(family)
    torch.testing.assert_close(output.logits, file[f"{family}:cls"], **TOLERANCE)
    torch.testing.assert_close(output.token_outputs, file[f"{family}:tokens"], **TOLERANCE)
    for stage, decision in enumerate(output.decisions):
        expected = file[f"{family}:stage{stage}.decision"]
        assert torch.equal(decision > 0.5, expected > 0.5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_loss_variant_equals_the_released_one(family, name):
    _, output = forward(family)
    total, parts = loss_of(family, name, output)
    result = torch.stack([total, *(parts[part] for part in ("classification", "ratio", "logits_kl", "tokens"))])
    torch.testing.assert_close(result, golden("training")[f"{family}:loss.{name}"], **TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_of_every_parameter_has_the_released_norm(family):
    file = golden("training")
    model, output = forward(family)
    loss_of(family, file.metadata[f"{family}:grad_of"], output)[0].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    norms = [
        gradients[name].norm() if gradients[name] is not None else -1 for name in file.metadata[f"{family}:grad_names"]
    ]
    torch.testing.assert_close(torch.tensor(norms), file[f"{family}:grad_norms"], atol=1e-4, rtol=1e-3)


def test_lvvit_stem_takes_batch_statistics_in_training():
    file = golden("training")
    model, _ = forward("lvvit")
    torch.testing.assert_close(
        model.patch_embed.bn1.running_mean, file["lvvit:after.patch_embed.bn1.running_mean"], **TOLERANCE
    )
    torch.testing.assert_close(
        model.patch_embed.bn1.running_var, file["lvvit:after.patch_embed.bn1.running_var"], **TOLERANCE
    )
