"""The training loop: gradients, updates, validations, checkpoints, in slices that can take turns with others."""

import contextlib
import time
from pathlib import Path
from typing import Any

import torch

from seqloom.core import runtime
from seqloom.data.batches import Order
from seqloom.measure.scores import Scores
from seqloom.parallel.world import naming_the_lost, processes
from seqloom.tasks.task import Opened
from seqloom.train import checkpoint
from seqloom.train.begin import take
from seqloom.train.directory import CHECKPOINTS, RunDirectory, refuse
from seqloom.train.experiment import Experiment, check, check_positions, known_steps
from seqloom.train.interrupt import between_steps
from seqloom.train.learner import learner
from seqloom.train.probe import faster_threads, peak_step_bytes, steps_within
from seqloom.train.progress import Event, Progress
from seqloom.train.record import SAME, Record, describe
from seqloom.train.result import Course, Result, time_to_quality_s
from seqloom.train.schedule import rate_factor
from seqloom.train.update import NonFiniteError, draw_from

VALIDATIONS = 20  # in a run, unless the experiment says otherwise
_TELL_EVERY_S = 0.1


class Training:
    """A run of an experiment, advanced slice by slice.

    The run is a pure function of the experiment, the data and the number of planned steps (on one machine, at one
    thread count): not of the slices, of what runs between them, of when checkpoints are saved, or of being killed.

    Args:
        experiment: what to train.
        opened: the experiment's task, opened; None: open it.
        out: run directory; None: keep everything in memory.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
        checkpoint_every: steps between checkpoints; None: as validations.
        keep: checkpoints kept.
        progress: called now and then.
        labels: of the ledger's rows, besides task, model, family and seed.

    Raises:
        ValueError: the plan cannot run here, the directory is refused, an example is longer than the positions that the
            model learns, every checkpoint is damaged, or the run to begin from is not what it was.
    """

    def __init__(
        self,
        experiment: Experiment,
        opened: Opened | None = None,
        out: Path | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        checkpoint_every: int | None = None,
        keep: int = 3,
        progress: Progress | None = None,
        labels: dict[str, str | int | float] | None = None,
    ) -> None:
        check(experiment, processes(), checkpoint_every, keep)
        if out is not None and experiment.plan.processes == 1:  # of several the first alone looks, and tells
            refuse(out, resume, overwrite)  # before the data is read, which may take long
        self.experiment, self.settings = experiment, experiment.optimizer
        self.opened = opened if opened is not None else experiment.task.open(experiment.data_seed)
        self.device = runtime.device()
        self._devices = [self.device] if self.device.type == "cuda" else []  # whose generators are forked
        spec = experiment.model_spec(self.opened)
        check_positions(spec.frontend, self.opened)
        self._resumes = out is not None

        def build() -> Any:
            return spec.build(experiment.seed).to(self.device).train()

        self.order = Order(self.opened.train.lengths, self.settings.batch_size, experiment.seed)
        self.course = Course(planned=known_steps(experiment.budget, self.opened.train, self.settings.batch_size))
        self.best: dict[str, torch.Tensor] = {}  # weights that were best on validation
        self.notices: list[str] = []
        self.directory: RunDirectory | None = None
        self._checkpoint_every, self._keep, self._progress = checkpoint_every, keep, progress
        self._saved_step, self._told_s = -1, 0.0
        self._record = Record(experiment, self.opened, labels or {})
        model = build()
        if experiment.begin is not None and not (resume and out is not None and checkpoint.steps(out / CHECKPOINTS)):
            take(model, experiment.begin)  # before the directory is touched, which may hold that very run
        self._parameters = model.n_parameters
        self.learner = learner(model, build, self.settings, experiment.plan)
        if out is not None:
            self._enter(out, resume, overwrite)

    @property
    def model(self) -> Any:
        """Return the model, of which this process may hold a part."""
        return self.learner.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of what this process holds."""
        return self.learner.optimizer

    @property
    def done(self) -> bool:
        """Return whether nothing is left to train."""
        return self.course.done

    def advance(self, steps: int | None = None, seconds: float | None = None) -> None:
        """Train for so many steps, or so many seconds of training, or to the end.

        Raises:
            NonFiniteError: a loss or gradient is not finite; the step was not taken.
            CheckpointError: a checkpoint could not be saved; the older ones are whole.
            KeyboardInterrupt: Ctrl-C, after the step in hand was finished and, with a run directory, saved.
        """
        course = self.course
        with (
            torch.random.fork_rng(devices=self._devices),
            runtime.deterministic(),
            between_steps(self._resumes) as stop,
            naming_the_lost(),
            contextlib.ExitStack() as turn,
        ):
            if course.planned is None:
                self._plan_steps()
            turn.enter_context(runtime.using_threads(course.threads))
            last_step = course.step + steps if steps is not None else None
            last_s = course.train_s + seconds if seconds is not None else None
            while not course.done:
                late = last_s is not None and self.learner.told(course.train_s) >= last_s  # by one process's clock
                if late or (last_step is not None and course.step >= last_step):
                    break
                started = time.perf_counter()
                loss = self._update(course.step)
                course.train_s += time.perf_counter() - started
                course.add(loss)
                self._after(loss)
                if self.learner.any(stop.signal is not None):
                    self.save()
                    stop.leave()

    def evaluate(self, split: str = "validation", limit: int | None = None) -> Scores:
        """Score the weights as they are on "train", "validation" or "test"."""
        if split not in ("train", "validation", "test"):
            raise ValueError(f"unknown split '{split}'; take train, validation or test")
        with runtime.deterministic():
            return self.opened.score(self.learner.whole(), getattr(self.opened, split), limit)

    def finish(self) -> Result:
        """Train what is left, take the weights that were best on validation, and score them on test."""
        self.advance()
        course = self.course
        assert course.planned is not None
        traffic, notices = self.learner.traffic(), self.learner.notices()
        peak_bytes = peak_step_bytes(self.learner, self.opened.train, self._devices)
        if self.best:
            self.learner.restore(self.best)
        self.model.eval()
        scores = self.evaluate("test")
        result = Result(
            metrics=scores.values(),
            scores=scores,
            metric=self.opened.metric,
            better=self.opened.better,
            curve=course.curve,
            steps=course.step,
            planned=course.planned,
            best_step=course.best_step,
            train_s=course.train_s,
            probe_s=course.probe_s,
            time_to_quality_s=time_to_quality_s(course.curve, self.opened.watching.better),
            parameters=self._parameters,
            peak_bytes=peak_bytes,
            stopped=course.stopped,
            notices=[*self.notices, *notices],
            traffic=traffic,
        )
        self._record.result(result)
        self.close()
        return result

    def close(self) -> None:
        """Let others write in the run directory."""
        if self.directory is not None:
            self.directory.close()

    def save(self) -> None:
        """Save a checkpoint of this step, unless there is one."""
        if not self._resumes or self._saved_step == self.course.step:
            return
        tensors = {"model": self.learner.weights(), "optimizer": self.learner.moments()}
        self._saved_step = self.course.step
        if self.directory is None:  # another process writes
            return
        if self.best and self.course.best_step != self.course.step:
            tensors["best"] = self.best
        data = {
            "course": self.course.to_data(),
            "position": self._position(self.course.step),
            "seed": self.experiment.seed,  # each step's draws are of (seed, step): there is no other generator state
            "threads": self.course.threads or runtime.threads(),
        }
        checkpoint.save(self.directory.checkpoints, self.course.step, tensors, data, self._keep)

    def _update(self, step: int) -> float:
        epoch, index = self._position(step)
        rows = self.order.rows(epoch, index)
        settings = self.settings
        factor = rate_factor(step, self.course.planned or 1, settings.warmup, settings.final)
        draw_from(self.experiment.seed, step, self.device, self.learner.part)
        loss, norm = self.learner.update(self.opened.train.of_epoch(epoch), rows, factor * settings.learning_rate)
        if not (loss - loss == 0 and norm - norm == 0):
            raise NonFiniteError(step, epoch, index, rows, loss, norm)
        return loss

    def _after(self, loss: float) -> None:
        course = self.course
        assert course.planned is not None
        every = self.experiment.evaluate_every or max(course.planned // VALIDATIONS, 1)
        last = course.step == course.planned
        if last or course.step % every == 0:
            self._validate()
        if course.done or course.step % (self._checkpoint_every or every) == 0:
            self.save()
        if self._progress is not None and (course.done or time.monotonic() - self._told_s >= _TELL_EVERY_S):
            self._told_s = time.monotonic()
            left_s = 0.0 if course.done else course.train_s / course.step * (course.planned - course.step)
            validation = course.curve[-1].validation if course.curve else None
            self._progress(Event(course.step, course.planned, course.train_s, left_s, loss, validation, course.done))

    def _validate(self) -> None:
        watch, limit = self.opened.watching, self.experiment.validation_examples
        whole = self.learner.whole()
        with runtime.deterministic():
            value = self.learner.told(watch.scorer(whole, self.opened.validation, limit=limit).value(watch.metric))
        if self.course.validated(value, watch.better, self.settings.patience):
            self.best = {name: tensor.detach().clone() for name, tensor in whole.state_dict().items()}
        self._record.point(self.course.curve[-1])

    def _position(self, step: int) -> tuple[int, int]:
        """Return (epoch, index) of a step's batch: the whole position in the data."""
        return divmod(step, self.order.steps_per_epoch)

    def _plan_steps(self) -> None:
        """Find out how many steps the budget in seconds holds, on how many threads; training then begins untouched."""
        budget_s, course = self.experiment.budget.seconds, self.course
        assert budget_s is not None and course.step == 0
        weights, clock = {name: t.clone() for name, t in self.learner.weights().items()}, self.learner.clock
        began = clock()
        counts = [1, runtime.threads()] if self.experiment.plan.processes == 1 else [runtime.threads()]
        course.threads = faster_threads(counts, self._update, clock)
        course.probe_s = clock() - began
        with runtime.using_threads(course.threads):
            left_s = max(budget_s - course.probe_s, budget_s / 2)
            course.planned, spent_s = steps_within(left_s, self._update, clock)
        course.probe_s += spent_s
        self.learner.restore(weights, {})
        self._record.planned(course)
        self._saved_step = -1  # a checkpoint of the weights that are begun from has no plan
        self.save()

    def _enter(self, out: Path, resume: bool, overwrite: bool) -> None:
        def read() -> checkpoint.Loaded | None:
            record, encoding = describe(self.experiment, self.opened), self.opened.interface()
            self.directory = RunDirectory(out, record, SAME, resume, overwrite, encoding=encoding)
            self.notices += self.directory.notices
            self.notices += self._record.open(self.directory.ledger)
            return checkpoint.load(self.directory.checkpoints)

        try:
            loaded = self.learner.first_does(read)
            if loaded is not None:
                self._restore(loaded)
            elif self.experiment.begin is not None:
                self.save()  # from now on the run that it begins from is not needed
        except BaseException:
            self.close()
            raise

    def _restore(self, loaded: checkpoint.Loaded) -> None:
        self.notices += loaded.notices
        self.course = Course.from_data(loaded.data["course"])
        self._saved_step = loaded.step
        self.learner.restore(loaded.tensors["model"], loaded.tensors["optimizer"])
        best = loaded.tensors["model"] if self.course.best_step == loaded.step else loaded.tensors.get("best", {})
        self.best = {name: tensor.to(self.device) for name, tensor in best.items()}
        assert tuple(loaded.data["position"]) == self._position(loaded.step), "another order than was saved"
        threads = self.course.threads or runtime.threads()
        if loaded.data["threads"] != threads:
            self.notices.append(
                f"the run was computed with {loaded.data['threads']} threads and goes on with {threads}: "
                "sums are rounded differently, so its weights will not be bit for bit those of an uninterrupted run"
            )
