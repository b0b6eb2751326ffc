/**
 * What Hugging Face `datasets` has to be told of our shards. It does not know the tensors' Arrow extension type,
 * and would take the JSON of `_vtp/` for data, so that it needs a file of its own in DEST: `.huggingface.yaml`,
 * which other readers pass over. Names of classes travel in the shards themselves, too: schema metadata
 * `huggingface`, as `datasets` writes it.
 */
import { columnSize } from '../../io/shards/rebatch.js'
import type { Store } from '../../io/store.js'
import { DATASET_CARD } from './layout.js'
import type { Plan } from './plan.js'

export type CardPlan = Pick<Plan, 'format' | 'columns' | 'classes'> & {
  source: Pick<Plan['source'], 'captions' | 'options'>
}

/** Only a card of ours is ever replaced or deleted. */
const MARK = 'written by vtp'
/** The dataset card of earlier versions, which stopped pandas and pyarrow. */
const OLD_CARD = 'README.md'

const scalars = (plan: CardPlan): [name: string, dtype: string][] => [
  ['key', 'string'],
  ['uri', 'string'],
  ['label', 'int32'],
  ...(plan.source.captions ? [['caption', 'string'] as [string, string]] : []),
  ...(plan.source.options?.metadata ? [['metadata', 'string'] as [string, string]] : []),
  ['width', 'int32'],
  ['height', 'int32'],
  ['sha256', 'binary'],
]

/** `.huggingface.yaml`: with it `load_dataset(DEST)` opens the folder. */
export function datasetCard(plan: CardPlan): string {
  const names = (plan.classes ?? []).map((name, i) => `\n          '${i}': ${JSON.stringify(name)}`).join('')
  const typeOf = (name: string, dtype: string): string =>
    name === 'label' && names ? `\n      class_label:\n        names:${names}` : ` ${dtype}`
  const features = [
    ...scalars(plan).map(([name, dtype]) => `  - name: ${name}\n    dtype:${typeOf(name, dtype)}`),
    ...plan.columns.map((c) => `  - name: ${c.name}\n    list: ${c.dtype}\n    length: ${columnSize(c)}`),
  ]
  return `# ${MARK}: how \`datasets.load_dataset\` reads this folder
configs:
- config_name: default
  data_files: part-*.${plan.format}
dataset_info:
  features:
${features.join('\n')}
`
}

/** Schema metadata of shards whose labels have names. Empty without classes. */
export function classMetadata(plan: CardPlan): Record<string, string> {
  if (!plan.classes || (plan.format !== 'arrow' && plan.format !== 'parquet')) return {}
  const value = (dtype: string): object => ({ dtype, _type: 'Value' })
  const label = { names: plan.classes, _type: 'ClassLabel' }
  const features = Object.fromEntries([
    ...scalars(plan).map(([name, dtype]) => [name, name === 'label' ? label : value(dtype)]),
    ...plan.columns.map((c) => [c.name, { feature: value(c.dtype), length: columnSize(c), _type: 'List' }]),
  ])
  return { huggingface: JSON.stringify({ info: { features } }) }
}

async function putOurs(store: Store, text: string): Promise<void> {
  if (await store.putIfAbsent(DATASET_CARD, Buffer.from(text))) return
  const there = Buffer.from(await store.get(DATASET_CARD)).toString()
  if (there.includes(MARK)) await store.put(DATASET_CARD, Buffer.from(text))
}

/** Writes the card, unless somebody has written one of their own; takes away that of an earlier version. */
export async function putCard(store: Store, plan: CardPlan): Promise<void> {
  if (plan.format !== 'arrow' && plan.format !== 'parquet') return
  await putOurs(store, datasetCard(plan))
  await removeOldCard(store)
}

/** Takes away the card that earlier versions wrote. */
export async function removeOldCard(store: Store): Promise<void> {
  if (!(await store.stat(OLD_CARD))) return
  const there = Buffer.from(await store.get(OLD_CARD)).toString()
  if (there.includes(`<!-- ${MARK} -->`)) await store.delete(OLD_CARD)
}
