"""A checkout of the well-known code (pytorch-CycleGAN-and-pix2pix) itself as the other side of a training step."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from case import Case
from sides import Work, timed
from torch import nn

from ganstyle.base.errors import UserError, one_line

WHAT = "a checkout of pytorch-CycleGAN-and-pix2pix, which has models/cycle_gan_model.py"


@dataclass(frozen=True)
class Checkout:
    """Builds that code's training step with its own defaults, TF32 as PyTorch has it.

    Raises:
        UserError: the folder is no such checkout, or its code fails.
    """

    path: Path
    case: Case

    def check(self) -> None:
        """Refuse another folder before anything is measured."""
        if not (self.path / "models" / "__init__.py").is_file():
            raise UserError(f"--against: got {self.path}, expected {WHAT}")

    def __call__(self) -> Work:
        model, pairs = self._model(), self.case.inputs()

        def step() -> None:
            real_a, real_b = pairs()
            model.set_input({"A": real_a, "B": real_b, "A_paths": [], "B_paths": []})
            model.optimize_parameters()

        return timed(step, self.case.device)

    def _model(self) -> Any:
        sys.path.insert(0, str(self.path.resolve()))
        try:
            # It prints its networks.
            with contextlib.redirect_stdout(io.StringIO()):
                model = importlib.import_module("models").create_model(self._options())
        except Exception as error:  # a stranger's code fails in any way
            raise UserError(f"--against {self.path}: its models.create_model failed: {one_line(error)}") from error
        for part in vars(model).values():
            if isinstance(part, nn.Module):  # later versions move their networks only when training is set up
                part.to(self.case.device)
        return model

    def _options(self) -> SimpleNamespace:
        """What its command line would give for horse to zebra, at the case's sizes; for all of its versions."""
        cuda = self.case.device.startswith("cuda")
        return SimpleNamespace(
            model="cycle_gan",
            dataset_mode="unaligned",
            isTrain=True,
            direction="AtoB",
            which_direction="AtoB",
            gpu_ids=[0] if cuda else [],
            device=torch.device(self.case.device),
            netG=f"resnet_{self.case.blocks}blocks",
            which_model_netG=f"resnet_{self.case.blocks}blocks",
            netD="basic",
            which_model_netD="basic",
            ngf=self.case.width,
            ndf=64,
            n_layers_D=3,
            input_nc=3,
            output_nc=3,
            norm="instance",
            no_dropout=True,
            init_type="normal",
            init_gain=0.02,
            gan_mode="lsgan",
            no_lsgan=False,
            lambda_A=10.0,
            lambda_B=10.0,
            lambda_identity=0.5,
            identity=0.5,
            pool_size=50,
            lr=2e-4,
            beta1=0.5,
            batch_size=self.case.batch,
            batchSize=self.case.batch,
            load_size=self.case.px,
            crop_size=self.case.px,
            loadSize=self.case.px,
            fineSize=self.case.px,
            preprocess="resize_and_crop",
            resize_or_crop="resize_and_crop",
            checkpoints_dir="checkpoints",
            name="benchmark",
            continue_train=False,
            verbose=False,
        )
