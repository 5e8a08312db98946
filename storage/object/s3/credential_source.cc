#include <algorithm>
#include <utility>

#include "storage/object/s3/credentials.h"

namespace thermocline::storage::s3 {
namespace {

using std::chrono::seconds;

constexpr seconds kBeforeExpiry{300};
constexpr seconds kBetweenLooks{15};   // while the old ones are still good
constexpr seconds kBetweenDemands{2};  // while somebody finds them refused

}  // namespace

absl::StatusOr<std::unique_ptr<CredentialSource>> CredentialSource::Open(CredentialPlaces places) {
  absl::StatusOr<FoundCredentials> found = FindCredentials(places);
  if (!found.ok()) return found.status();
  const bool may_change = found->may_change;
  std::unique_ptr<CredentialSource> source(new CredentialSource(std::move(places), *std::move(found)));
  if (may_change) source->thread_ = std::thread([&source = *source] { source.Run(); });
  return source;
}

CredentialSource::CredentialSource(CredentialPlaces places, FoundCredentials found)
    : places_(std::move(places)) {
  MutexLock lock(mutex_);
  Take(std::move(found));
}

CredentialSource::~CredentialSource() { Close(); }

std::shared_ptr<const CredentialSource::Current> CredentialSource::current() const {
  MutexLock lock(mutex_);
  return current_;
}

void CredentialSource::Renew(uint64_t generation, absl::AnyInvocable<void(bool)> done) {
  bool newer = false;
  {
    MutexLock lock(mutex_);
    newer = current_->generation > generation;
    const bool in_vain = looked_at_ && Clock::now() - *looked_at_ < kBetweenDemands;
    if (!newer && may_change_ && !closing_ && !in_vain) {
      waiting_.push_back(std::move(done));
      changed_.NotifyAll();
      return;
    }
  }
  done(newer);
}

void CredentialSource::Close() {
  {
    MutexLock lock(mutex_);
    closing_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void CredentialSource::Run() {
  for (;;) {
    {
      MutexLock lock(mutex_);
      while (!HasTurn()) {
        if (look_at_) {
          changed_.WaitUntil(mutex_, *look_at_);
        } else {
          changed_.Wait(mutex_);
        }
      }
    }
    Look();
    MutexLock lock(mutex_);
    if (closing_ && waiting_.empty()) return;
  }
}

bool CredentialSource::HasTurn() const {
  return closing_ || !waiting_.empty() || (look_at_ && Clock::now() >= *look_at_);
}

void CredentialSource::Look() {
  bool closing = false;
  {
    MutexLock lock(mutex_);
    closing = closing_;
  }
  absl::StatusOr<FoundCredentials> found = absl::CancelledError();
  if (!closing) found = FindCredentials(places_);
  std::vector<absl::AnyInvocable<void(bool)>> waiting;
  bool newer = false;
  {
    MutexLock lock(mutex_);
    const uint64_t before = current_->generation;
    looked_at_ = Clock::now();
    if (found.ok()) {
      Take(*std::move(found));
    } else {
      look_at_ = Clock::now() + kBetweenLooks;
    }
    newer = current_->generation > before;
    waiting.swap(waiting_);
  }
  for (auto& done : waiting) done(newer);
}

void CredentialSource::Take(FoundCredentials found) {
  const bool same = current_ != nullptr && current_->credentials.access_key == found.credentials.access_key &&
                    current_->credentials.secret == found.credentials.secret &&
                    current_->credentials.session_token == found.credentials.session_token;
  if (!same) {
    const uint64_t generation = current_ == nullptr ? 1 : current_->generation + 1;
    current_ = std::make_shared<const Current>(Current{std::move(found.credentials), generation});
  }
  may_change_ = found.may_change;
  look_at_.reset();
  if (!found.expires) return;
  const auto left = std::chrono::duration_cast<seconds>(*found.expires - std::chrono::system_clock::now());
  look_at_ = Clock::now() + std::max(left - kBeforeExpiry, kBetweenLooks);
}

}  // namespace thermocline::storage::s3
