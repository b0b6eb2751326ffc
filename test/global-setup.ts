import { execFileSync } from 'node:child_process'

/** Builds `dist/` once before the tests: end-to-end tests and worker threads run what users run. */
export default function setup(): void {
  if (process.env.VTP_TEST_SKIP_BUILD !== '1') execFileSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit' })
}
