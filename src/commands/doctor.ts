import { BaseCommand } from '../cli/base-command.js'

export default class Doctor extends BaseCommand<typeof Doctor> {
  static override summary = 'Show what this machine will use and why, and what is missing for a GPU.'
  static override description =
    `Looks at the processor and its vector instructions, limits of the control group (containers, Slurm),
memory, ONNX Runtime and its providers, every piece that CUDA needs, the image library, the caches and the
free disk space. It changes nothing.

Exit codes: 0 ready; 1 something stops vtp from working.`
  static override examples = [
    { description: 'A report for people', command: '<%= config.bin %> <%= command.id %>' },
    { description: 'The same as one JSON object', command: '<%= config.bin %> <%= command.id %> --json' },
  ]

  async run(): Promise<unknown> {
    await this.input(Doctor)
    const { runDoctor } = await import('../cli/run/doctor.js')
    return runDoctor(this.context())
  }
}
