@0xd3f2a8c41b7e9605;
# What capnp-rpc itself costs: one call with a key, answered with bytes.

interface Echo {
  get @0 (key :Text) -> (bytes :Data);
  # The key is a decimal length; leading zeros make it as long as a record key.
}
