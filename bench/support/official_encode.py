"""The official VTP model over a list of images, as its users run it: a DataLoader, batches, one call.

Prints the seconds from the first batch asked for to the last latents received, model loading excluded.
Usage: official_encode.py CLONE MODEL LIST BATCH WORKERS fp32|bf16
"""
import json
import os
import sys
import time

clone, model_dir, source, batch, workers, precision = sys.argv[1:7]
sys.path.insert(0, clone)
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision import transforms
from vtp.models.vtp_hf import VTPConfig, VTPModel

config = VTPConfig(**{k: v for k, v in json.load(open(os.path.join(model_dir, "config.json"))).items() if k != "model_type"})
model = VTPModel(config)
state = load_file(os.path.join(model_dir, "model.safetensors"))
missing, extra = model.load_state_dict({k: v.float() if "periods" not in k else v.bfloat16() for k, v in state.items()}, strict=False)
model.eval()
torch.set_num_threads(os.cpu_count())


class Images(torch.utils.data.Dataset):
    def __init__(self, root):
        self.files = open(root).read().split("\n")
        self.transform = transforms.Compose([
            transforms.Resize((config.image_size, config.image_size)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ])

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.transform(Image.open(self.files[i]).convert("RGB"))


data = Images(source)
loader = torch.utils.data.DataLoader(data, batch_size=int(batch), num_workers=int(workers))
start = time.perf_counter()
with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
    for images in loader:
        model.get_reconstruction_latents(images).float().numpy()
print(json.dumps({"images": len(data), "seconds": time.perf_counter() - start}))
