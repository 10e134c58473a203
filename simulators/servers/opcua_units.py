"""Engineering units as OPC UA wants them (Part 8, 5.6.4): UNECE Recommendation 20 codes for the UCUM units of our tags.

Data and one function. A unit that is not in the table is still shown, by its UCUM text alone.
"""

from __future__ import annotations

from asyncua import ua

UNECE = "http://www.opcfoundation.org/UA/units/un/cefact"
UCUM = "http://unitsofmeasure.org/ucum"

# UCUM text: UNECE common code, what people see, what it is called.
_UNITS: dict[str, tuple[str, str, str]] = {
    "1": ("C62", "", "one"),
    "A": ("AMP", "A", "ampere"),
    "A.h": ("AMH", "A·h", "ampere hour"),
    "Cel": ("CEL", "°C", "degree Celsius"),
    "Hz": ("HTZ", "Hz", "hertz"),
    "J": ("JOU", "J", "joule"),
    "K": ("KEL", "K", "kelvin"),
    "N": ("NEW", "N", "newton"),
    "N/m": ("4P", "N/m", "newton per metre"),
    "Pa": ("PAL", "Pa", "pascal"),
    "Pa.s": ("C65", "Pa·s", "pascal second"),
    "V": ("VLT", "V", "volt"),
    "W": ("WTT", "W", "watt"),
    "W.h": ("WHR", "W·h", "watt hour"),
    "kW.h": ("KWH", "kW·h", "kilowatt hour"),
    "kg": ("KGM", "kg", "kilogram"),
    "kg/kg": ("3H", "kg/kg", "kilogram per kilogram"),
    "kg/m2": ("28", "kg/m²", "kilogram per square metre"),
    "m": ("MTR", "m", "metre"),
    "m/s": ("MTS", "m/s", "metre per second"),
    "m3/s": ("MQS", "m³/s", "cubic metre per second"),
    "mL/s": ("40", "ml/s", "millilitre per second"),
    "ms": ("C26", "ms", "milli second"),
    "s": ("SEC", "s", "second [unit of time]"),
}


def unit_id(code: str) -> int:
    """Number of a UNECE code: its characters as the bytes of an integer (Part 8, 5.6.4.3)."""
    return int.from_bytes(code.encode("ascii"), "big")


def engineering_units(unit: str) -> ua.EUInformation:
    """EngineeringUnits property of a tag whose unit is `unit`."""
    if unit not in _UNITS:
        return ua.EUInformation(UCUM, -1, ua.LocalizedText(unit), ua.LocalizedText(unit))
    code, shown, name = _UNITS[unit]
    return ua.EUInformation(UNECE, unit_id(code), ua.LocalizedText(shown), ua.LocalizedText(name))
