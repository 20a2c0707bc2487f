//! System tests: the same bodies through every door of a real store.

mod ancestors;
mod damage;
mod door;
mod doors;
mod every_method;
mod exports;
mod fixtures;
mod grants;
mod hostile;
mod hostile_cars;
mod imports;
mod keeper;
mod line;
mod listings;
mod queries;
mod raw;
mod reading;
mod reads;
mod real;
mod revisions;
mod round_trips;
mod scans;
mod signatures;
mod updates;
mod watches;
mod wire;
