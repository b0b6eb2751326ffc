/**
 * `README.md` beside Parquet shards: the features of each column in the form in which Hugging Face
 * `datasets` reads them, so that `load_dataset(DEST)` opens the folder. Without it `datasets` refuses the
 * tensors' Arrow extension type.
 */
import { columnSize } from '../../io/shards/rebatch.js'
import type { Plan } from './plan.js'

export const DATASET_CARD = 'README.md'
/** First line of the text: only a card of ours is ever replaced or deleted. */
export const CARD_MARK = '<!-- written by vtp -->'

export function datasetCard(plan: Plan): string {
  const scalars: [string, string][] = [
    ['key', 'string'],
    ['uri', 'string'],
    ['label', 'int32'],
    ...(plan.source.captions ? [['caption', 'string'] as [string, string]] : []),
    ['width', 'int32'],
    ['height', 'int32'],
    ['sha256', 'binary'],
  ]
  const features = [
    ...scalars.map(([name, dtype]) => `  - name: ${name}\n    dtype: ${dtype}`),
    ...plan.columns.map((c) => `  - name: ${c.name}\n    list: ${c.dtype}\n    length: ${columnSize(c)}`),
  ]
  const shapes = plan.columns.map((c) => `| ${c.name} | ${c.dtype} | [${c.shape.join(', ')}] |`)
  return `---
configs:
- config_name: default
  data_files: part-*.parquet
dataset_info:
  features:
${features.join('\n')}
---
${CARD_MARK}
Outputs of the visual tokenizer ${plan.model.name} (${plan.transform}, ${plan.precision}), one row per image.
Tensors are stored row-major:

| column | type | shape |
|---|---|---|
${shapes.join('\n')}
`
}
