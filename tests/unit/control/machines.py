"""A rack made of tags only: enough of a machine to try commands and jobs on, driven by the soft driver."""

from __future__ import annotations

import tomllib

from configs.loader import packaged
from configs.schema import Equipment, FormationRecipe
from controller.drivers.soft import SoftDriver
from controller.types import Write


def rack() -> Equipment:
    return Equipment.model_validate(tomllib.loads(packaged("equipment")["formation_rack_64"].read_text()))


def recipe() -> FormationRecipe:
    return FormationRecipe.model_validate(tomllib.loads(packaged("recipes")["formation_a_sample"].read_text()))


RACK_TAGS = {tag.name: [0.0] * group.points for group in rack().group for tag in group.tag}


class ObedientRack(SoftDriver):
    """Takes commands as the rack's equipment file says: start from idle, resume from held, reset from the rest."""

    def __init__(self) -> None:
        super().__init__("rack1", tags=RACK_TAGS)

    async def write(self, writes: list[Write]) -> None:  # type: ignore[override]
        before = self.tags["command_seq"][0]
        await super().write(writes)
        sequence = self.tags["command_seq"][0]
        if sequence == before:
            return
        moves = {(0, 1): 1, (2, 4): 1, (3, 5): 0, (4, 5): 0, (5, 5): 0, (6, 5): 0}
        state = moves.get((int(self.tags["rack_state"][0]), int(self.tags["command"][0])))
        self.tags["command_seq_ack"][0] = sequence
        self.tags["command_result"][0] = 2.0 if state is None else 1.0
        if state is not None:
            self.tags["rack_state"][0] = float(state)
