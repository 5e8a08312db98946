#pragma once

#include <cstddef>

namespace thermocline::server::rpc {

// Bytes that the process has allocated and not freed. Unlike resident memory, it does not depend on what the
// allocator keeps, nor on a sanitizer's quarantine.
size_t HeapBytes();

}  // namespace thermocline::server::rpc
