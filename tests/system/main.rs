//! System tests: the same bodies through every door of a real store.

mod damage;
mod door;
mod doors;
mod exports;
mod fixtures;
mod hostile;
mod hostile_cars;
mod imports;
mod keeper;
mod listings;
mod reads;
mod real;
mod round_trips;
mod signatures;
mod updates;
