#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "storage/segment/kernels.h"

// The kernels that come in several variants. Contracts are in kernels.h.
namespace thermocline::storage::segment {

struct KernelVariant {
  uint64_t (*and_words)(const uint64_t* a, const uint64_t* b, uint64_t* out);
  uint64_t (*or_words)(const uint64_t* a, const uint64_t* b, uint64_t* out);
  uint64_t (*and_not_words)(const uint64_t* a, const uint64_t* b, uint64_t* out);
  uint64_t (*count_words)(const uint64_t* words);
  size_t (*list_words)(const uint64_t* words, uint64_t container, uint64_t* out);
  // Begins a merge of lists of similar length, and may leave it to the caller to go on at any place.
  Merged (*begin_intersection)(std::span<const uint64_t> a, std::span<const uint64_t> b,
                               std::span<uint64_t> out);
};

extern const KernelVariant kPortableKernels;
// nullptr where the processor lacks AVX2, BMI or BMI2.
const KernelVariant* Avx2Kernels();

}  // namespace thermocline::storage::segment
