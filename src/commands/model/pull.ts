import { Args } from '@oclif/core'
import { BaseCommand } from '../../cli/base-command.js'

export default class ModelPull extends BaseCommand<typeof ModelPull> {
  static override summary = 'Download a model from a Hugging Face hub into the standard cache, and check it.'
  static override description =
    `Takes only config.json and the weight files. A broken download resumes where it stopped; every file is
checked against the hub's size and hash, those in the cache too. Prints the folder of the snapshot.

HF_HOME or HF_HUB_CACHE choose the cache, HF_ENDPOINT a mirror, HF_TOKEN (or the token file) gives access to
private models; with HF_HUB_OFFLINE=1 the cache is used and nothing is asked.`
  static override examples = [
    {
      description: 'The newest revision',
      command: '<%= config.bin %> <%= command.id %> MiniMaxAI/VTP-Large-f16d64',
    },
    {
      description: 'A fixed revision: a branch, a tag or a commit',
      command: '<%= config.bin %> <%= command.id %> MiniMaxAI/VTP-Large-f16d64@main',
    },
  ]

  static override args = {
    ref: Args.string({ name: 'REF', required: true, description: 'A hub id: org/name or org/name@revision.' }),
  }

  async run(): Promise<unknown> {
    const { args } = await this.input(ModelPull)
    const { runModelPull } = await import('../../cli/run/model.js')
    return runModelPull(this.context(), args.ref)
  }
}
