"""What was measured: dotted names to numbers, and how they are printed."""

import json
import math
import os
import statistics


class Results(dict):
    """What goes into latest.json."""

    def put(self, name, value):
        value = float(value)
        assert math.isfinite(value), f"{name} is {value}"
        self[name] = float(f"{value:.6g}")
        return self[name]

    def spread(self, name, values):
        """The median as name, and the extremes as name_min and name_max."""
        self.put(f"{name}_min", min(values))
        self.put(f"{name}_max", max(values))
        return self.put(name, statistics.median(values))

    def save(self, path):
        """Replaces the file as a whole."""
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="ascii") as f:
            json.dump(self, f, indent=1, sort_keys=True)
            f.write("\n")
        os.replace(temporary, path)

    def range(self, name, digits=2):
        """"0.91 (0.88-0.95)"."""
        return (f"{self[name]:.{digits}f} "
                f"({self[name + '_min']:.{digits}f}-{self[name + '_max']:.{digits}f})")


class Ratios:
    """Rounds of things that take turns; each of ours is compared with what the
    reference did right before and right after it."""

    def __init__(self):
        self.references, self.ours = [], []

    def reference(self, rate):
        self.references.append(rate)

    def own(self, rate):
        assert len(self.references) == len(self.ours) + 1, "a reference comes first, and after each round"
        self.ours.append(rate)

    def ratios(self):
        return [rate / ((before + after) / 2)
                for rate, before, after in zip(self.ours, self.references, self.references[1:])]


def heading(text):
    print(f"\n{text}", flush=True)


def line(*columns):
    """Columns are (text, width): left-aligned where the width is negative."""
    print("  " + "  ".join(f"{text:<{-width}}" if width < 0 else f"{text:>{width}}"
                           for text, width in columns).rstrip(), flush=True)
