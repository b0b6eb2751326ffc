/**
 * The reference's YAML configuration files (VTP generation/configs/*.yaml, LightningDiT configs/*.yaml), read
 * as they are: the model's options, how it is sampled, and where things lie. Defaults for keys that are left
 * out are the reference's (LightningDiT inference.py; VTP generation/tools/inference_lightningdit_vtp.py).
 */
import { readFile } from 'node:fs/promises'
import * as z from 'zod'
import { errorText, systemCode, usageError } from '../errors.js'
import { parsePyYaml } from '../io/pyyaml.js'
import { DIT_SIZES, type DitConfig } from '../model/dit.js'

const text = z.string().nullish()
const flag = z.boolean().nullish()
const number = z.number().nullish()

const schema = z.looseObject({
  ckpt_path: text,
  data: z
    .looseObject({
      data_path: text,
      fid_reference_file: text,
      image_size: number,
      latent_multiplier: number,
      num_classes: number,
    })
    .nullish(),
  model: z.looseObject({
    model_type: z.string(),
    in_chans: number,
    use_qknorm: flag,
    use_rmsnorm: flag,
    use_rope: flag,
    use_swiglu: flag,
    wo_shift: flag,
    learn_sigma: flag,
  }),
  sample: z
    .looseObject({
      atol: number,
      rtol: number,
      cfg_scale: number,
      cfg_interval_start: number,
      fid_num: number,
      mode: text,
      num_sampling_steps: number,
      per_proc_batch_size: number,
      reverse: flag,
      sampling_method: text,
      timestep_shift: number,
    })
    .nullish(),
  train: z.looseObject({ global_seed: number }).nullish(),
  transport: z.looseObject({ path_type: text, prediction: text }).nullish(),
  vae: z
    .looseObject({ model_name: text, hf_model_path: text, normalize_type: text, downsample_ratio: number })
    .nullish(),
})

/** What a configuration file says; undefined where it is silent and the reference has no default. */
export interface Recipe {
  file: string
  modelType: string
  options: Pick<DitConfig, 'learnSigma' | 'qkNorm' | 'swiglu' | 'rope' | 'rmsNorm' | 'woShift'>
  inChannels?: number
  numClasses: number
  imageSize: number
  checkpoint?: string
  /** Folder of latents, which holds latents_stats.pt. */
  dataPath?: string
  vtpModel?: string
  /** What it calls the tokenizer, e.g. `vavae_f16d32`; where that lies it does not say. */
  tokenizer?: string
  normalize: 'imagenet' | 'half'
  fidReference?: string
  latentMultiplier: number
  method?: string
  steps?: number
  timestepShift?: number
  cfgScale?: number
  cfgIntervalStart?: number
  atol?: number
  rtol?: number
  batch?: number
  num?: number
  seed?: number
}

/** True for a file that looks like one of the reference's, so that it may be given as `--config`. */
export async function isRecipe(file: string): Promise<boolean> {
  try {
    const value: unknown = parsePyYaml(await readFile(file, 'utf8'))
    return typeof (value as { model?: { model_type?: unknown } }).model?.model_type === 'string'
  } catch {
    return false
  }
}

/** A configuration file by a schema, with its text's own value. Throws usage errors `recipe_unreadable`, `bad_recipe`. */
export async function readRecipeFile<T>(file: string, schema: z.ZodType<T>): Promise<{ data: T; value: unknown }> {
  let value: unknown
  try {
    value = parsePyYaml(await readFile(file, 'utf8'))
    JSON.stringify(value) // throws for a value that holds itself
  } catch (error) {
    const what = systemCode(error) === 'ENOENT' ? 'does not exist' : `is not YAML: ${errorText(error).split('\n')[0]}`
    throw usageError('recipe_unreadable', `The configuration ${file} ${what}`, [
      "give a configuration of the reference's, e.g. train_vtp_l_dit_xl.yaml",
    ])
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return { data: parsed.data, value }
  const issue = parsed.error.issues[0]!
  const seen = valueAt(value, issue.path)
  const isNumber = typeof seen === 'string' && seen.trim() !== '' && Number.isFinite(Number(seen))
  throw usageError('bad_recipe', `${file}: ${issue.path.join('.') || 'the file'}: ${issue.message}`, [
    ...(isNumber
      ? [`write the number as PyYAML reads it, e.g. 1.0e-4: it takes ${JSON.stringify(seen)} for a text`]
      : []),
    "give a configuration of the reference's, e.g. train_vtp_l_dit_xl.yaml",
  ])
}

/** Reads a configuration file. Throws usage errors `recipe_unreadable`, `bad_recipe`, `unsupported_recipe`. */
export async function readRecipe(file: string): Promise<Recipe> {
  const parsed = await readRecipeFile(file, schema)
  const { ckpt_path, data, model, sample, train, transport, vae } = parsed.data
  if (!Object.hasOwn(DIT_SIZES, model.model_type)) {
    throw usageError('bad_recipe', `${file}: model.model_type "${model.model_type}" is not known`, [
      `choose among ${Object.keys(DIT_SIZES).join(', ')}`,
    ])
  }
  const only = (name: string, seen: unknown, wanted: string): void => {
    if (seen === null || seen === undefined || seen === wanted) return
    throw usageError('unsupported_recipe', `${file}: ${name} is ${String(seen)}; only ${wanted} is supported`)
  }
  only('transport.path_type', transport?.path_type, 'Linear')
  only('transport.prediction', transport?.prediction, 'velocity')
  only('sample.mode', sample?.mode, 'ODE')
  only('sample.reverse', sample?.reverse === true ? 'true' : undefined, 'false')
  const normalize = vae?.normalize_type ?? 'half'
  if (normalize !== 'imagenet' && normalize !== 'half') {
    throw usageError('bad_recipe', `${file}: vae.normalize_type is ${normalize}, neither imagenet nor half`)
  }
  return {
    file,
    modelType: model.model_type,
    options: {
      learnSigma: model.learn_sigma ?? false,
      qkNorm: model.use_qknorm ?? false,
      swiglu: model.use_swiglu ?? false,
      rope: model.use_rope ?? false,
      rmsNorm: model.use_rmsnorm ?? false,
      woShift: model.wo_shift ?? false,
    },
    inChannels: model.in_chans ?? undefined,
    numClasses: data?.num_classes ?? 1000,
    imageSize: data?.image_size ?? 256,
    checkpoint: usable(ckpt_path),
    dataPath: usable(data?.data_path),
    vtpModel: usable(vae?.hf_model_path),
    tokenizer: vae?.model_name ?? undefined,
    normalize,
    fidReference: usable(data?.fid_reference_file),
    latentMultiplier: data?.latent_multiplier ?? 0.18215,
    method: sample?.sampling_method ?? undefined,
    steps: sample?.num_sampling_steps ?? undefined,
    timestepShift: sample?.timestep_shift ?? undefined,
    cfgScale: sample?.cfg_scale ?? undefined,
    cfgIntervalStart: sample?.cfg_interval_start ?? undefined,
    atol: sample?.atol ?? undefined,
    rtol: sample?.rtol ?? undefined,
    batch: sample?.per_proc_batch_size ?? undefined,
    num: sample?.fid_num ?? undefined,
    seed: train?.global_seed ?? undefined,
  }
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown> | null | undefined)?.[key], value)
}

/** The templates say "/path/to/…" or "path/to/your/…" where users should put theirs. */
export function usable(path: string | null | undefined): string | undefined {
  return !path || /^\/?path\/to\//.test(path) ? undefined : path
}

/** The transformer that a configuration describes, for latents of this side and these channels. */
export function recipeConfig(recipe: Recipe, side: number, channels: number): DitConfig {
  return {
    ...DIT_SIZES[recipe.modelType]!,
    ...recipe.options,
    inputSize: side,
    inChannels: recipe.inChannels ?? channels,
    mlpRatio: 4,
    numClasses: recipe.numClasses,
    nullClass: true,
  }
}
