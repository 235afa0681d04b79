"""The cluster: who is on this LAN, who is alive, and who speaks for all of them (DESIGN 3.6).

Beacons find (``beacon``, ``discovery``), SWIM with Lifeguard watches (``members``), a lease elects (``lease``). Each is a
machine; ``machine`` sums them for the node. What members tell each other travels as messages of admitted sessions.
"""
