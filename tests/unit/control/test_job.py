"""A job brings a machine through load, start and end, survives a restart of ours, and starts nothing twice."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Mapping

import pytest

from configs.loader import packaged
from configs.schema import Equipment, UnitRecipe
from controller.clock import LineClock
from controller.control import job as job_module
from controller.control.commands import Commander
from controller.control.job import Job, JobContext
from controller.control.recipes import recipe_writes
from controller.control.sequence import Phase
from controller.types import Frame, Write
from tests.unit.control.machines import ObedientRack, rack, recipe


class Store:
    """Durable state and records, in memory."""

    def __init__(self) -> None:
        self.state: dict[str, bytes] = {}
        self.frames: list[Frame] = []

    async def record(self, frame: Frame, state: Mapping[str, bytes] | None = None) -> None:
        self.frames.append(frame)
        self.state.update(state or {})

    def commands(self) -> list[tuple[str, str]]:
        found = [f.text for f in self.frames if f.stream == "command"]
        return [(t["name"][0], t["outcome"][0]) for t in found]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "ASK_S", 0.001)
    monkeypatch.setattr(job_module, "RETRY_S", 0.001)


def make_job(driver: ObedientRack, store: Store, jobs: int = 1) -> Job:
    commander = Commander({"rack1": driver}, {"rack1": rack()}, LineClock(), store.record)
    context = JobContext(commander, LineClock(), store.record, store.state.get)
    return Job("rack1", rack(), recipe(), 60.0, context, jobs)


async def run_until(job: Job, done: Callable[[], bool]) -> None:
    task = asyncio.create_task(job.run())
    try:
        async with asyncio.timeout(5):
            while not done():
                assert not task.done(), task.exception()
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
async def test_an_idle_machine_is_loaded_and_started_once() -> None:
    driver, store = ObedientRack(), Store()
    await driver.start()
    job = make_job(driver, store)
    await run_until(job, lambda: job.phase is Phase.STARTED)
    assert store.commands() == [("load recipe", "confirmed"), ("start", "confirmed")]
    steps = len(recipe().step)
    assert driver.tags["programme_steps"] == [steps]
    assert driver.tags["step_mode"][steps:] == [0.0] * (32 - steps)
    assert driver.tags["heartbeat_timeout_s"] == [60.0]
    assert driver.tags["heartbeat"][0] > 0


@pytest.mark.asyncio
async def test_a_restarted_controller_goes_on_watching_and_sees_the_end() -> None:
    driver, store = ObedientRack(), Store()
    await driver.start()
    first = make_job(driver, store)
    await run_until(first, lambda: first.phase is Phase.STARTED)
    sent = len(store.commands())
    second = make_job(driver, store)
    assert second.phase is Phase.STARTED
    driver.tags["rack_state"][0] = 3.0
    await run_until(second, lambda: second.phase is Phase.DONE)
    assert len(store.commands()) == sent


@pytest.mark.asyncio
async def test_a_job_that_was_stopped_by_a_person_is_not_started_again() -> None:
    driver, store = ObedientRack(), Store()
    await driver.start()
    job = make_job(driver, store)
    await run_until(job, lambda: job.phase is Phase.STARTED)
    driver.tags["rack_state"][0] = 4.0
    await run_until(job, lambda: job.phase is Phase.FAILED)
    assert store.commands()[-1][0] == "start"
    assert store.frames[-1].text["severity"] == ("error",)


@pytest.mark.asyncio
async def test_a_hold_for_want_of_our_heartbeat_is_resumed() -> None:
    driver, store = ObedientRack(), Store()
    await driver.start()
    job = make_job(driver, store)
    await run_until(job, lambda: job.phase is Phase.STARTED)
    driver.tags["rack_state"][0], driver.tags["rack_fault_bits"][0] = 2.0, 1.0
    await run_until(job, lambda: driver.tags["rack_state"][0] == 1.0)
    assert store.commands()[-1] == ("resume", "confirmed")


@pytest.mark.asyncio
async def test_a_machine_that_is_away_is_asked_again() -> None:
    driver, store = ObedientRack(), Store()
    job = make_job(driver, store)
    asked = 0

    def connected_at_the_tenth_look() -> bool:
        nonlocal asked
        asked += 1
        if asked < 10:
            assert job.phase is Phase.NEW
        elif asked == 10:
            asyncio.get_running_loop().create_task(driver.start())
        return job.phase is Phase.STARTED

    await run_until(job, connected_at_the_tenth_look)


@pytest.mark.asyncio
async def test_remains_of_an_earlier_job_are_reset_before_the_load() -> None:
    driver, store = ObedientRack(), Store()
    driver.tags["rack_state"][0] = 3.0
    await driver.start()
    job = make_job(driver, store)
    await run_until(job, lambda: job.phase is Phase.STARTED)
    assert [name for name, _ in store.commands()] == ["reset", "load recipe", "start"]


@pytest.mark.asyncio
async def test_job_after_job_each_is_reset_loaded_and_started_anew_until_all_are_done() -> None:
    driver, store = ObedientRack(), Store()
    await driver.start()

    async def one_job() -> Phase:
        job = make_job(driver, store, jobs=3)  # the count outlives our process
        await run_until(job, lambda: job.phase is Phase.STARTED and driver.tags["rack_state"][0] == 1.0)
        driver.tags["rack_state"][0] = 3.0
        await run_until(job, lambda: job.phase is not Phase.STARTED)
        return job.phase

    assert [await one_job() for _ in range(3)] == [Phase.NEW, Phase.NEW, Phase.DONE]
    again = ["reset", "load recipe", "start"]
    assert [name for name, _ in store.commands()] == again[1:] + again + again
    assert store.frames[-1].text["message"] == ("job 3 complete, the last",)


@pytest.mark.asyncio
async def test_a_job_that_ended_early_is_not_followed_by_another() -> None:
    driver, store = ObedientRack(), Store()
    await driver.start()
    job = make_job(driver, store, jobs=0)
    await run_until(job, lambda: job.phase is Phase.STARTED)
    driver.tags["rack_state"][0] = 5.0
    await run_until(job, lambda: job.phase is Phase.FAILED)
    assert store.commands()[-1][0] == "start"


def test_a_unit_recipe_is_its_tags_each_written_once() -> None:
    found = UnitRecipe.model_validate(tomllib.loads(packaged("recipes")["mix_nmc_slurry"].read_text()))
    mixer = Equipment.model_validate(tomllib.loads(packaged("equipment")["planetary_mixer"].read_text()))
    assert recipe_writes(found, mixer) == (
        Write("unit_quantity_sp", (1.0,)),
        Write("mixer_solids_sp", (0.65,)),
        Write("mixer_batch_sp_kg", (75.0,)),
        Write("mixer_time_sp_s", (9000.0,)),
    )
