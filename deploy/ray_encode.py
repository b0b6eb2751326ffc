"""Runs vtp on a Ray cluster: plans once, then gives units to tasks with the resources they need.

    python deploy/ray_encode.py --units-per-task 4 --num-cpus 4 --num-gpus 1 -- \
        s3://data/images --out s3://data/latents --device cuda ::: --batch-size 64

Flags behind `--` go to `vtp plan` and `vtp encode`, those behind `:::` to `vtp encode` alone. Ray starts tasks of
lost nodes again elsewhere; vtp skips what is committed. It needs vtp on every node (--vtp names the command).

Exit codes are those of `vtp encode`: 0 done, 1 more rejects than --max-bad over the whole run, 2 usage, 3 failed.
"""

import argparse
import json
import shlex
import subprocess
import sys

import ray


class RunFailed(RuntimeError):
    """The run is over. `code` is the exit code."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class UnitsFailed(RuntimeError):
    """vtp ended with a code that another try may change: 3 (failed) or 4 (interrupted)."""


def encode_units(command, flags, units):
    """Encodes some units in this process's node. Returns the object that vtp prints."""
    listed = ",".join(str(unit) for unit in units)
    # --max-bad 1: one task sees few images; the share of rejects is judged over the whole run.
    done = subprocess.run(
        [*command, "encode", *flags, "--units", listed, "--max-bad", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode in (3, 4) or done.returncode < 0:
        raise UnitsFailed(f"units {listed}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    if done.returncode != 0:
        return {"units": listed, "exitCode": done.returncode, "error": done.stderr[-2000:]}
    return {"units": listed, "exitCode": 0, **json.loads(done.stdout)}


def run(command, flags, encode_only, units_per_task=1, num_cpus=1, num_gpus=0, log=print):
    """Plans, encodes every unit on the cluster that ray.init has joined, and finalizes. Returns what `vtp finalize`
    says. Raises RunFailed."""
    planned = subprocess.run([*command, "plan", *flags, "--json"], stdout=subprocess.PIPE, text=True)
    if planned.returncode != 0:
        raise RunFailed("vtp plan failed", planned.returncode if planned.returncode > 0 else 3)
    plan = json.loads(planned.stdout)
    units = list(range(plan["units"]))
    slices = [units[i : i + units_per_task] for i in range(0, len(units), units_per_task)]
    task = ray.remote(encode_units).options(
        num_cpus=num_cpus, num_gpus=num_gpus, max_retries=20, retry_exceptions=[UnitsFailed]
    )
    waiting = [task.remote(command, [*flags, *encode_only], part) for part in slices]
    while waiting:
        ready, waiting = ray.wait(waiting)
        try:
            results = ray.get(ready)
        except ray.exceptions.RayError as error:
            raise RunFailed(str(error), 3) from None
        for result in results:
            if result["exitCode"] != 0:
                raise RunFailed(result["error"], result["exitCode"])
            log(f"units {result['units']} done, {len(waiting)} tasks left")
    ended = subprocess.run([*command, "finalize", plan["out"], "--json"], stdout=subprocess.PIPE, text=True)
    # 1: units are not committed, which the object says, too.
    if ended.returncode not in (0, 1):
        raise RunFailed("vtp finalize failed", ended.returncode if ended.returncode > 0 else 3)
    return json.loads(ended.stdout)


def exit_code(ended, max_bad):
    """The exit code for what `vtp finalize` says: rejects are judged over the whole run."""
    if not ended["complete"]:
        return 3
    rows, rejects = ended["totals"]["rows"], ended["totals"]["rejects"]
    return 1 if rejects > max_bad * (rows + rejects) else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="auto", help="address of the Ray cluster")
    parser.add_argument("--vtp", default="vtp", help='command on every node, e.g. "node /opt/vtp/bin/run.js"')
    parser.add_argument("--units-per-task", type=int, default=1)
    parser.add_argument("--num-cpus", type=float, default=1)
    parser.add_argument("--num-gpus", type=float, default=0)
    parser.add_argument("--max-bad", type=float, default=0.01, help="share of rejects (0 to 1) that is still a success")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="-- SOURCE --out DEST [flags] [::: flags of encode]")
    options = parser.parse_args()
    flags = options.flags[1:] if options.flags[:1] == ["--"] else options.flags
    cut = flags.index(":::") if ":::" in flags else len(flags)
    ray.init(address=options.address)
    try:
        ended = run(
            shlex.split(options.vtp),
            flags[:cut],
            flags[cut + 1 :],
            options.units_per_task,
            options.num_cpus,
            options.num_gpus,
        )
    except RunFailed as error:
        print(error, file=sys.stderr)
        sys.exit(error.code)
    print(json.dumps(ended))
    sys.exit(exit_code(ended, options.max_bad))


if __name__ == "__main__":
    main()
