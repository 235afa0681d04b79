"""The overlay: machines that find, trust and reach each other, and speak with one voice.

Start reading in ``node.py``, which sums the parts; ``docs/tour.md`` walks one query and one record through all of them.
"""

__version__ = "0.1.0"
