#pragma once

#include <cstdint>

#include "tests/bench/workload.h"

namespace thermocline::bench {

// Ranks 0 .. size-1, of which rank r is drawn with a probability proportional to 1 / (r+1)^theta: the
// popularity of keys as caches see it. Exact for any size and any theta > 0, without tables:
// rejection-inversion by Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone
// discrete distributions" (1996). Immutable, thus thread-safe.
class Zipfian {
 public:
  Zipfian(uint64_t size, double theta);

  uint64_t Draw(RandomStream& random) const;

 private:
  double Density(double x) const;
  double Integral(double x) const;
  double InverseIntegral(double y) const;

  double size_;
  double theta_;
  double integral_first_;
  double integral_last_;
  double sure_;  // nearer to a whole number than this, a point needs no test
};

}  // namespace thermocline::bench
