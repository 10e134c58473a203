from kernels import status


def test_every_code_has_its_own_name_in_order() -> None:
    codes = {k: v for k, v in vars(status).items() if k.isupper() and isinstance(v, int)}
    assert sorted(codes.values()) == list(range(len(codes)))
    assert {code: status.name(code) for code in codes.values()} == {v: k.lower() for k, v in codes.items()}


def test_a_code_of_a_later_version_is_unknown() -> None:
    assert status.name(200) == "unknown"
    assert status.name(-1) == "unknown"
