"""What the driver refuses before it opens anything."""

from __future__ import annotations

import pytest

from configs.schema import Device, Equipment
from controller.clock import LineClock
from controller.drivers.modbus import ModbusDriver, parse_endpoint
from controller.errors import BadInputError

TAG = {"name": "x", "address": 0, "type": "uint16"}


def device(endpoint: str) -> Device:
    return Device(id="rack1", equipment="e", endpoint=endpoint)


def equipment(period_s: float = 1.0) -> Equipment:
    group = {"name": "g", "period_s": period_s, "tag": [TAG]}
    return Equipment.model_validate({"name": "e", "title": "E", "protocol": "modbus", "group": [group]})


def test_endpoint_parts() -> None:
    assert parse_endpoint(device("modbus.tcp://rack.local:502/255")) == ("rack.local", 502, 255)


@pytest.mark.parametrize("endpoint", ["modbus.tcp://h:502", "modbus.tcp://h:502/256", "modbus.tcp://h:70000/1",
                                      "modbus.tcp://h:502/x", "opc.tcp://h:502/1"])  # fmt: skip
def test_bad_endpoint_is_refused_with_an_example(endpoint: str) -> None:
    with pytest.raises(BadInputError, match=r"device 'rack1': endpoint .* is not modbus.tcp://host:port/unit .*/1"):
        ModbusDriver(device(endpoint), equipment(), LineClock())


def test_equipment_that_is_never_read_or_speaks_otherwise_is_refused() -> None:
    with pytest.raises(BadInputError, match="no group of equipment type 'e' has a period_s above 0"):
        ModbusDriver(device("modbus.tcp://h:502/1"), equipment(0.0), LineClock())
    opc = Equipment.model_validate(
        {"name": "e", "title": "E", "protocol": "opcua", "opcua": {"namespace": "urn:x"},
         "group": [{"name": "g", "tag": [{**TAG, "address": "s=X"}]}]}
    )  # fmt: skip
    with pytest.raises(BadInputError, match="equipment 'e' speaks opcua, not modbus"):
        ModbusDriver(device("modbus.tcp://h:502/1"), opc, LineClock())
