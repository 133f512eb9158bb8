//! The wire, byte by byte and round trip.
