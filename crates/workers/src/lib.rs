//! Local Lambda: the Runtime API on loopback, worker processes, limits and REPORT lines
