"""A temperature that a person types."""

HOTTEST = 5.0  # above it is noise
WRONG = f"a temperature is a number from 0, the likeliest token each time, to {HOTTEST:g}"


def temperature_of(text: str) -> float | None:
    """The temperature that a text names; None where it is none."""
    try:
        temperature = float(text)
    except ValueError:
        return None
    return temperature if 0 <= temperature <= HOTTEST else None


def how(temperature: float) -> str:
    """How tokens are drawn at a temperature, in words."""
    return f"temperature {temperature:g}" if temperature else "the likeliest token"
