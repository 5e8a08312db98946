#include "tests/load/key_space.h"

#include <array>
#include <utility>

namespace thermocline::load {
namespace {

constexpr double kTheta = 0.99;

constexpr std::array<std::pair<std::string_view, Popularity>, 3> kNames = {
    {{"uniform", Popularity::kUniform}, {"zipfian", Popularity::kZipfian}, {"latest", Popularity::kLatest}}};

}  // namespace

void KeySpace::End(uint64_t number, bool acknowledged) {
  if (!acknowledged) failed_.store(true, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  uint64_t readable = readable_.load(std::memory_order_relaxed);
  const uint64_t at = number - readable;
  if (at >= ended_.size()) ended_.resize(at + 1);
  ended_[at] = true;
  while (!ended_.empty() && ended_.front()) {
    ended_.pop_front();
    ++readable;
  }
  readable_.store(readable, std::memory_order_release);
}

std::optional<Popularity> PopularityOf(std::string_view name) {
  for (const auto& [known, popularity] : kNames) {
    if (name == known) return popularity;
  }
  return std::nullopt;
}

std::string_view NameOf(Popularity popularity) { return kNames[static_cast<size_t>(popularity)].first; }

KeyChoice::KeyChoice(Popularity popularity, uint64_t keys, uint64_t seed)
    : popularity_(popularity), keys_(keys), zipfian_(keys, kTheta), scatter_(keys, seed) {}

uint64_t KeyChoice::Draw(bench::RandomStream& random, uint64_t readable) const {
  switch (popularity_) {
    case Popularity::kUniform:
      return random.Below(keys_);
    case Popularity::kZipfian:
      return scatter_(zipfian_.Draw(random));
    case Popularity::kLatest:
      break;
  }
  return readable - 1 - zipfian_.Draw(random);
}

}  // namespace thermocline::load
