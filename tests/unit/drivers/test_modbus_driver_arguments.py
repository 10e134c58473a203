"""What the driver refuses before it opens anything."""

from __future__ import annotations

import pytest

from configs.schema import Device, Equipment
from controller.clock import LineClock
from controller.drivers.modbus import ModbusDriver
from controller.drivers.modbus_ways import parse_way
from controller.errors import BadInputError

TAG = {"name": "x", "address": 0, "type": "uint16"}


def device(endpoint: str) -> Device:
    return Device(id="rack1", equipment="e", endpoint=endpoint)


def equipment(period_s: float = 1.0) -> Equipment:
    group = {"name": "g", "period_s": period_s, "tag": [TAG]}
    return Equipment.model_validate({"name": "e", "title": "E", "protocol": "modbus", "group": [group]})


def test_endpoint_parts() -> None:
    way, unit = parse_way(device("modbus.tcp://rack.local:502/255"))
    assert (way.endpoint.host, way.endpoint.port, unit, way.rtu, way.silence_s) == ("rack.local", 502, 255, False, 0.0)
    way, unit = parse_way(device("modbus.rtu:///dev/ttyS9?baud=9600&unit=17"))
    assert (way.endpoint.path, unit, way.rtu) == ("/dev/ttyS9", 17, True)
    # Modbus over serial line V1.02, 2.5.1.1: 3.5 characters of 11 bits, above 19200 baud 1.75 ms
    assert way.silence_s == pytest.approx(3.5 * 11 / 9600)
    assert parse_way(device("modbus.rtu:///dev/ttyS9?baud=115200"))[0].silence_s == 1.75e-3


@pytest.mark.parametrize(("query", "text"), [("unit=0", "from 1 to 247"), ("unit=248", "from 1 to 247"),
                                             ("baud=fast", "baud is a whole"), ("parity=mark", "parity is even"),
                                             ("stop=1", "has no 'stop'")])  # fmt: skip
def test_a_bad_serial_line_is_refused(query: str, text: str) -> None:
    with pytest.raises(BadInputError, match=f"is not modbus.rtu:///path.unit=1: .*{text}"):
        ModbusDriver(device(f"modbus.rtu:///dev/ttyS9?{query}"), equipment(), LineClock())


@pytest.mark.parametrize("endpoint", ["modbus.tcp://h:502", "modbus.tcp://h:502/256", "modbus.tcp://h:70000/1",
                                      "modbus.tcp://h:502/x", "opc.tcp://h:502/1"])  # fmt: skip
def test_bad_endpoint_is_refused_with_an_example(endpoint: str) -> None:
    with pytest.raises(BadInputError, match=r"device 'rack1': endpoint .* is not modbus.tcp://host:port/unit: .*/1"):
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
