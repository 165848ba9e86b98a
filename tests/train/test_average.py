"""Averages of weights: against a loop of numbers, exact over a resume, judged by, finished with, trained without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from train_small import counted, moving_parts, trainer

from modeledge.errors import ModeledgeError
from modeledge.files import RECIPE
from modeledge.train import Session


def weights(run: object) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().copy() for name, p in run.module.named_parameters()}  # type: ignore[attr-defined]


def session(folder: Path, **fields: object) -> Session:
    run = trainer(folder, "masked", **fields)
    (folder / "run").mkdir(exist_ok=True)
    return Session(folder / "run", run, say=lambda text: None)


def test_the_moving_average_is_the_loop_and_training_does_not_see_it(tmp_path: Path) -> None:
    plain, run = trainer(tmp_path, judge=None), trainer(tmp_path, judge=None, ema=0.7)
    mean = {name: value.astype(np.float64) for name, value in weights(run).items()}
    for number in range(1, 9):
        assert plain.step().loss == run.step().loss
        decay = min(0.7, (1 + number) / (10 + number))
        mean = {name: decay * mean[name] + (1 - decay) * value for name, value in weights(run).items()}
    told = run.tensors()
    for name, value in mean.items():
        np.testing.assert_allclose(told[f"average|{name}"].numpy(), value, atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(weights(plain).values(), weights(run).values(), strict=True))
    with run.averaged():
        inside = weights(run)
    assert all(np.array_equal(inside[n], told[f"average|{n}"].numpy()) for n in inside)
    assert all(np.array_equal(a, b) for a, b in zip(weights(plain).values(), weights(run).values(), strict=True))


def test_the_judge_marks_the_average_and_the_finished_model_has_it(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def judge(model: object) -> dict[str, float]:
        seen.append({n: p.detach().clone() for n, p in model.named_parameters()})  # type: ignore[attr-defined]
        return {"score": float(len(seen) == 2)}  # the second of four verdicts is the best

    run = session(tmp_path, judge=judge, ema=0.6)
    run.run()
    last = weights(run.trainer)
    run.conclude()
    found = dict(run.trainer.model.named_parameters())
    assert all(torch.equal(found[name], value) for name, value in seen[1].items())
    assert not np.array_equal(last["model.tokens"], seen[1]["tokens"].numpy())


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_the_average_is_the_same_over_a_stop(tmp_path: Path, stop: int) -> None:
    whole = session(tmp_path, ema=0.9, judge=counted)
    whole.run()
    folder = tmp_path / "stopped"
    folder.mkdir()
    session(folder, ema=0.9).run(until=stop)
    again = session(folder, ema=0.9)
    assert again.resume() == stop
    again.run()
    assert moving_parts(again.trainer) == moving_parts(whole.trainer)


def test_a_checkpoint_with_another_average_is_refused(tmp_path: Path) -> None:
    session(tmp_path, ema=0.9).run(until=3)
    kept = session(tmp_path, ema=0.9).checkpoints.load(3)
    with pytest.raises(ModeledgeError, match=r"E-RESUME.*this run none"):
        trainer(tmp_path).load(*kept)
    fewer = {name: t for name, t in kept[0].items() if name != "average|model.tokens"}
    with pytest.raises(ModeledgeError, match=r"E-RESUME.*does not fit at model.tokens"):
        trainer(tmp_path, ema=0.9).load(fewer, kept[1])


def test_the_mean_of_the_last_checkpoints_wherever_the_run_was_stopped(tmp_path: Path) -> None:
    """Steps 4, 8 and 10 are planned; the extra checkpoints of two stops are not among them and remove none of them."""
    fields = {"judge": None, "judge_every": None, "save_every": 4, "mean_of_last": 3, "keep_last": 1}
    points = []
    alone = trainer(tmp_path, **fields)
    for number in range(1, 11):
        alone.step()
        if number in (4, 8, 10):
            points.append(weights(alone))
    for stop in (5, 9, 10):
        run = session(tmp_path, **fields)
        run.resume()
        run.run(until=stop)
    said: list[str] = []
    run.say = said.append
    run.conclude()
    for name, value in weights(run.trainer).items():
        mean = np.mean([point[name].astype(np.float64) for point in points], axis=0).astype(np.float32)
        np.testing.assert_array_equal(value, mean)
    assert said == ["the model is the mean of the checkpoints of steps 4, 8, 10"]


def test_more_checkpoints_than_the_run_makes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match=r"E-CONFIG.*make 2 checkpoints"):
        trainer(tmp_path, judge=None, judge_every=None, save_every=6, mean_of_last=3)


def test_another_plan_of_checkpoints_is_another_mean(tmp_path: Path) -> None:
    """Steps 4, 8 and 10 are averaged; every 3 from step 5 on it would be 6, 9 and 10. Without a mean it is free."""
    for mean in (3, None):
        fields = {"judge": None, "judge_every": None, "mean_of_last": mean}
        folder = tmp_path / f"{mean}"
        folder.mkdir()
        for every, until in ((4, 5), (3, 10)):
            run = session(folder, save_every=every, **fields)
            told = f"save_every = {every}\n" + (f"mean_of_last = {mean}\n" if mean else "")
            (folder / "run" / RECIPE).write_text(f"[train]\n{told}")
            if mean and every == 3:
                with pytest.raises(ModeledgeError, match=r"E-RESUME.*train.save_every was 4, is 3"):
                    run.resume()
            else:
                run.resume()
                run.run(until=until)
