"""Two processes on one machine compute what one does."""

import json
import socket
import subprocess

import numpy as np
from test_modes import ROOT, cache, command, environment, succeed  # noqa: F401


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_are_one_run(cache, tmp_path):  # noqa: F811
    """The same losses over the same global batches, written once, and checkpoints
    that one process reads."""
    one, two = tmp_path / "one", tmp_path / "two"
    succeed("pretrain", one, cache)
    address = f"--coordinator=127.0.0.1:{free_port()}"
    processes = [
        subprocess.Popen(
            command(
                "pretrain",
                two,
                cache,
                address,
                "--num_processes=2",
                f"--process_id={index}",
            ),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in (0, 1)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "2 CPU device(s)" in outputs[0]
    read = lambda folder: [  # noqa: E731
        json.loads(line)
        for line in (folder / "pretrain" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [x["step"] for x in read(two)] == [x["step"] for x in read(one)]
    # Sums over two devices are rounded in another order, and Adam passes that on.
    np.testing.assert_allclose(
        [x["loss"] for x in read(two)], [x["loss"] for x in read(one)], rtol=2e-3
    )
    result = succeed("pretrain", two, cache)
    assert "finished already at step 8 of 8" in result.stdout
