/** Flags that every command which runs the batch engine shares. */
import { Args, Flags } from '@oclif/core'
import { valueFlag } from './declare.js'
import { parseCount, parseFraction, parseImageSize, parseUnits } from './parse.js'

export const DATASET_ARG = Args.string({
  name: 'SOURCE',
  required: true,
  description:
    'A folder of images, an image, a list (.txt, .jsonl, .csv, .tsv or - for stdin), tar shards (a.tar, a.tar.gz, a glob or "a-{000..009}.tar"), Parquet files with an image column, or a folder of such files, most of them also under s3://bucket/; a folder of `datasets.save_to_disk`; files of a dataset on the hub ("hf://datasets/ORG/NAME@REVISION/train-*.parquet"); or the output of `vtp encode --outputs pixels`. Lists may name s3:// and http(s):// addresses.',
})

export const RUN_ARG = Args.string({
  name: 'DEST',
  required: true,
  description: 'The --out of `vtp encode` or `vtp plan`: a folder or s3://bucket/prefix.',
})

export const MODEL_ARG = Args.string({
  name: 'MODEL',
  required: true,
  description:
    'A folder (or s3://bucket/prefix) with config.json and model.safetensors, a hub id such as MiniMaxAI/VTP-Large-f16d64, or nano.',
})

export const MODEL_FLAG = Flags.string({
  char: 'm',
  default: 'nano',
  summary:
    'The model: a folder (or s3://bucket/prefix) with config.json and model.safetensors, a hub id such as MiniMaxAI/VTP-Large-f16d64, or nano (bundled).',
  helpValue: 'MODEL',
})

/** How images become the model's input. */
export const INPUT_FLAGS = {
  transform: Flags.string({
    summary:
      'Preprocessing, e.g. "resize(256,256,bilinear)" (the default at the model\'s size), "adm-crop(256)", "resize(256,bicubic)|center-crop(224)".',
    helpValue: 'SPEC',
  }),
  'image-size': valueFlag(parseImageSize, {
    summary: "Size of the model's input: S or HxW. Default: the checkpoint's.",
    helpValue: 'S|HxW',
  }),
}

export const RUN_FLAGS = {
  'shard-rows': Flags.integer({ default: 10_000, min: 1, summary: 'Images per shard; one shard is one unit of work.' }),
  'batch-size': valueFlag(parseCount, {
    default: 'auto',
    summary: 'Images per pass of the model. It does not change the output.',
    helpValue: 'N',
  }),
  device: Flags.string({
    default: 'auto',
    summary: 'auto, cpu, cuda (all GPUs) or cuda:1 (one).',
    description:
      'auto tries what it takes: the NVIDIA GPUs by CUDA; else, for encoding and decoding, a WebGPU adapter that is shown to be a real GPU; else the CPU. It says what it passes over, and `vtp doctor` what is missing. webgpu, coreml and dml are passed on to ONNX Runtime where it has them, and checked with one small attention when they open.',
    helpValue: 'DEVICE',
  }),
  precision: Flags.string({
    default: 'auto',
    summary: 'Arithmetic of the model: auto, fp32, int8 (CPU only), fp16 or bf16 (GPU only).',
    description:
      'auto is fp32 on a CPU, rounding for rounding as the reference, and fp16 on a GPU. int8 is two to three times as fast as fp32 where the processor has VNNI or AMX instructions (`vtp doctor`), about 1.3 times elsewhere, and less exact: `vtp model check` shows by how much. It is part of the plan.',
    helpValue: 'NAME',
  }),
  'require-gpu': Flags.boolean({ default: false, summary: 'Fail instead of using the CPU.' }),
  // A thread takes about 15 MB, whether or not there is work for it.
  workers: Flags.integer({
    min: 1,
    max: 512,
    summary: 'Preprocessing threads, at most 512. Default: one per core.',
    helpValue: 'N',
  }),
  'worker-index': Flags.integer({
    min: 0,
    summary: 'Number of this worker among --worker-count, from 0. Default: what the scheduler says.',
    helpValue: 'I',
  }),
  'worker-count': Flags.integer({
    min: 1,
    summary: 'How many workers share this run. Default: what the scheduler says.',
    helpValue: 'N',
  }),
  'help-others': Flags.boolean({
    default: true,
    allowNo: true,
    summary: 'With several workers: take uncommitted units of others when the own ones are done.',
  }),
  'checkpoint-seconds': Flags.integer({
    default: 10,
    min: 0,
    summary:
      'How often the finished part of an open shard is kept, for an interrupted run to take up; 0 is after every batch.',
    helpValue: 'N',
  }),
  'same-processor': Flags.boolean({
    default: false,
    summary: 'Refuse to work on a run that another kind of processor has begun: its rows may differ in the last bits.',
  }),
  'retry-rejects': Flags.boolean({
    default: false,
    summary: 'Try rejected images of committed units again, and nothing else of these units.',
  }),
  'allow-private-urls': Flags.boolean({
    default: false,
    summary: 'Read http(s) addresses of a list even where they lead to this machine or a private network.',
  }),
  log: Flags.string({ summary: 'Append what happens to a file, as JSON lines.', helpValue: 'FILE' }),
  metrics: Flags.string({
    summary: 'Prometheus metrics: a file that is kept up to date, or an address to serve them at, e.g. :9464.',
    helpValue: 'FILE|ADDRESS',
  }),
  units: valueFlag(parseUnits, { summary: 'Work on these units only, e.g. 17,40-59.', helpValue: 'LIST' }),
  'max-bad': valueFlag(parseFraction, {
    default: '1%',
    summary: 'Largest share of rejected images that still counts as success, e.g. 0.01 or 1%.',
    helpValue: 'SHARE',
  }),
  'max-pixels': Flags.integer({
    default: 100_000_000,
    min: 1,
    summary: 'Reject images with more pixels than this.',
    helpValue: 'N',
  }),
  overwrite: Flags.boolean({ default: false, summary: 'Delete the output of another run in --out and start anew.' }),
  'dry-run': Flags.boolean({
    default: false,
    summary: 'Show the plan, the expected size and the expected time; write nothing.',
  }),
} as const
