"""The official code of a peer with random weights, on fixed inputs: writes its checkpoint, then answers lines.

Usage: official_peers.py PEER FOLDER BATCH THREADS wall|cpu
PEER: clip (open_clip, ViT-B-16 at 224), siglip (transformers, B/16 at 256), dinov2 (timm, B/14 at 224), vavae (f16d32
at 256, encoder; LIGHTNINGDIT names a clone of hustvl/LightningDiT). Each line of standard input is answered with the
seconds of one batch, "memory" with the largest resident size in MiB.
"""
import json
import os
import resource
import sys
import time

peer, folder, batch, threads, clock = sys.argv[1:6]
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
import torch

torch.set_num_threads(int(threads))
torch.manual_seed(1)
os.makedirs(folder, exist_ok=True)


def place(name):
    return os.path.join(folder, name)


def clip():
    import open_clip
    from safetensors.torch import save_file

    config = open_clip.get_model_config("ViT-B-16")
    model = open_clip.CLIP(**config)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "attn_mask"}
    save_file(state, place("open_clip_model.safetensors"))
    with open(place("open_clip_config.json"), "w") as file:
        json.dump({"model_cfg": config, "preprocess_cfg": {}}, file)
    return model, 224, lambda x: model.encode_image(x, normalize=True)


def siglip():
    import transformers

    model = transformers.SiglipModel(transformers.SiglipConfig(vision_config={"image_size": 256, "patch_size": 16}))
    model.save_pretrained(folder)
    return model, 256, lambda x: model.get_image_features(pixel_values=x)


def dinov2():
    import timm

    model = timm.create_model("vit_base_patch14_dinov2", pretrained=False, img_size=224, num_classes=0)
    torch.save(model.state_dict(), place("dinov2_vitb14_pretrain.pth"))
    return model, 224, model.forward_features


def vavae():
    sys.path.insert(0, os.environ["LIGHTNINGDIT"])
    from tokenizer.autoencoder import AutoencoderKL

    model = AutoencoderKL(embed_dim=32, ch_mult=(1, 1, 2, 2, 4))
    torch.save({"state_dict": model.state_dict()}, place("vavae-imagenet256-f16d32-dinov2.pt"))
    return model, 256, lambda x: model.encode(x).mode()


model, size, run = {"clip": clip, "siglip": siglip, "dinov2": dinov2, "vavae": vavae}[peer]()
model.eval()
images = torch.randn(int(batch), 3, size, size)


def now():
    return time.process_time() / int(threads) if clock == "cpu" else time.perf_counter()


print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "memory":
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
        continue
    with torch.inference_mode():
        start = now()
        run(images)
        seconds = now() - start
    print(seconds, flush=True)
