//! What the map remembers and how the target's names come back, in small cases; the simulator tries the rest.
