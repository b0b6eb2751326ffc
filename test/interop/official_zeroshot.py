"""Zero-shot classification through CLIP's and SigLIP's tokenizers, by the official code and by vtp: every image must get
the same class. Weights are random, so this tests names, templates, tokenizers, both towers and preprocessing, not
quality.

    python test/interop/official_zeroshot.py SPIECE_MODEL [IMAGES]

SPIECE_MODEL is a unigram model in SigLIP's form (`spiece.model`). It needs torch, open_clip_torch, transformers,
sentencepiece and a built vtp. CLIP goes through open_clip's `local-dir:` loading, transforms, tokenizer and
`build_zero_shot_classifier`; SigLIP through transformers' SiglipModel, SiglipTokenizer and image processor.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

VTP = Path(__file__).parents[2] / "bin" / "run.js"
CLASSES = 40


def random_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Values of a size that lets images and texts differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                if parameter.numel() > 1 and not name.endswith("weight"):
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
                continue
            fan_in = parameter[0].numel()
            scale = 0.5 if "embedding" in name else 1.5 / fan_in**0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def write_images(folder: Path, count: int) -> list[Path]:
    """`count` pictures of many sizes in class folders; paths in the order of a listing."""
    random = np.random.default_rng(7)
    paths = []
    for i in range(count):
        height, width = random.integers(40, 200, 2)
        coarse = random.integers(0, 256, (random.integers(2, 9), random.integers(2, 9), 3), dtype=np.uint8)
        path = folder / f"{i % CLASSES:03}" / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return sorted(paths)


def clip_official(folder: Path, paths: list[Path], names: list[str]) -> torch.Tensor:
    config = {
        "model_cfg": {
            "embed_dim": 48,
            "vision_cfg": {"image_size": 64, "layers": 3, "width": 96, "head_width": 32, "patch_size": 16},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3},
        },
        "preprocess_cfg": {
            "mean": list(open_clip.OPENAI_DATASET_MEAN),
            "std": list(open_clip.OPENAI_DATASET_STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = random_weights(open_clip.CLIP(**config["model_cfg"])).state_dict()
    save_file({k: v.contiguous() for k, v in weights.items() if k != "attn_mask"}, folder / "open_clip_model.safetensors")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        classifier = open_clip.build_zero_shot_classifier(
            model.eval(), tokenizer, names, open_clip.OPENAI_IMAGENET_TEMPLATES, num_classes_per_batch=10
        )
        images = torch.stack([preprocess(Image.open(path)) for path in paths])
        return 100 * model.encode_image(images, normalize=True) @ classifier


def siglip_official(folder: Path, paths: list[Path], names: list[str], spiece: Path) -> torch.Tensor:
    tower = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 256}
    config = transformers.SiglipConfig(
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        text_config={**tower, "vocab_size": 1200, "max_position_embeddings": 64},
    )
    folder.mkdir()
    model = random_weights(transformers.SiglipModel(config))
    model.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(spiece.read_bytes())
    processor = transformers.SiglipImageProcessorPil(size={"height": 64, "width": 64}, resample=3)
    tokenizer = transformers.SiglipTokenizer(str(spiece), model_max_length=64)

    def pooled(output):
        return torch.nn.functional.normalize(getattr(output, "pooler_output", output), dim=-1)

    with torch.no_grad():
        columns = []
        for name in names:
            texts = [template(name) for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
            ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
            mean = pooled(model.get_text_features(input_ids=ids)).mean(0)
            columns.append(mean / mean.norm())
        images = [Image.open(path).convert("RGB") for path in paths]
        pixels = processor(images, return_tensors="pt")["pixel_values"]
        return pooled(model.get_image_features(pixel_values=pixels)) @ torch.stack(columns, 1)


def vtp(*args: object) -> str:
    done = subprocess.run(["node", VTP, *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def compare(title: str, folder: Path, images: Path, paths: list[Path], names: list[str], logits: torch.Tensor) -> bool:
    classnames = folder / "names.txt"
    classnames.write_text("\n".join(names))
    result = json.loads(vtp("eval-zeroshot", images, "--model", folder, "--classnames", classnames, "--json"))
    truth = torch.tensor([int(path.parent.name) for path in paths])
    top1 = 100 * (logits.argmax(1) == truth).float().mean().item()
    templates = folder / "templates.txt"
    templates.write_text("\n".join(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES))
    lines = vtp("classify", images, "--model", folder, "--labels", classnames, "--templates", templates).splitlines()
    ours = {line["key"]: line["label"] for line in map(json.loads, lines)}
    official = {str(path.relative_to(images)): names[best] for path, best in zip(paths, logits.argmax(1).tolist())}
    same = sum(ours[key] == official[key] for key in official)
    best = logits.topk(2).values
    margin = ((best[:, 0] - best[:, 1]) / logits.std()).min().item()
    print(
        f"{title}: {same} of {len(paths)} images get the official class ({len(set(official.values()))} classes are given); "
        f"top-1 {result['top1']:.4f} here, {top1:.4f} there; smallest margin {margin:.1e} deviations"
    )
    return same == len(paths) and abs(result["top1"] - top1) < 1e-3


def main() -> None:
    spiece, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    names = open_clip.IMAGENET_CLASSNAMES[:CLASSES]
    with tempfile.TemporaryDirectory() as scratch:
        images, root = Path(scratch) / "images", Path(scratch)
        paths = write_images(images, count)
        clip = clip_official(root / "clip", paths, names)
        siglip = siglip_official(root / "siglip", paths, names, spiece)
        done = [
            compare("CLIP, open_clip", root / "clip", images, paths, names, clip),
            compare("SigLIP, transformers", root / "siglip", images, paths, names, siglip),
        ]
    sys.exit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
