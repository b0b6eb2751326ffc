"""Lets LightningDiT's train.py run on a machine without a GPU: three things that it takes for granted."""
import sys
import types

import torch

# Imported and never used.
sys.modules["diffusers"] = types.ModuleType("diffusers")
models = types.ModuleType("diffusers.models")
models.AutoencoderKL = None
sys.modules["diffusers.models"] = models

torch.cuda.synchronize = lambda *_: None


class OnProcessor(torch.nn.parallel.DistributedDataParallel):
    def __init__(self, module, device_ids=None, **options):
        super().__init__(module, **options)


torch.nn.parallel.DistributedDataParallel = OnProcessor
