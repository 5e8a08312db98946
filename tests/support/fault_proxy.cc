#include "tests/support/fault_proxy.h"

#include <algorithm>
#include <atomic>
#include <list>
#include <optional>
#include <set>
#include <sys/socket.h>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <fmt/format.h>
#include <poll.h>

#include "storage/system_clock.h"
#include "storage/thread_annotations.h"
#include "tests/support/http_stream.h"

namespace thermocline::testing {
namespace {

using boost::asio::ip::tcp;
using storage::CondVar;
using storage::Mutex;
using storage::MutexLock;

constexpr std::chrono::seconds kPatience(10);

struct Message {
  HttpHead head;
  std::string body;
};

std::string S3Error(std::string_view status, std::string_view code, bool has_body) {
  const std::string body = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{}</Code>"
      "<Message>injected</Message><RequestId>0</RequestId><HostId>proxy</HostId></Error>",
      code);
  return fmt::format("HTTP/1.1 {}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{}", status,
                     body.size(), has_body ? body : "");
}

std::optional<std::string> CannedAnswer(Fault fault, bool has_body) {
  switch (fault) {
    case Fault::kAnswer500:
    case Fault::kAnswer500After:
      return S3Error("500 Internal Server Error", "InternalError", has_body);
    case Fault::kAnswer503:
      return S3Error("503 Slow Down", "SlowDown", has_body);
    case Fault::kExpired400:
      return S3Error("400 Bad Request", "ExpiredToken", has_body);
    case Fault::kExpired403:
      return S3Error("403 Forbidden", "ExpiredToken", has_body);
    default:
      return std::nullopt;
  }
}

void SetToReset(int descriptor) {
  const linger at_once = {1, 0};
  ::setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

// Waits; false if the peer closes the connection before, or it is shut down. 0: for ever.
bool Pause(tcp::socket& peer, std::chrono::milliseconds time) {
  pollfd wanted = {peer.native_handle(), POLLRDHUP, 0};
  return ::poll(&wanted, 1, time.count() == 0 ? -1 : static_cast<int>(time.count())) == 0;
}

}  // namespace

std::string_view NameOf(Fault fault) {
  switch (fault) {
    case Fault::kResetBefore:
      return "reset before the request";
    case Fault::kResetInRequest:
      return "reset in the request";
    case Fault::kAnswer500:
      return "500 in place of the target";
    case Fault::kAnswer503:
      return "503 in place of the target";
    case Fault::kExpired400:
      return "expired token, 400";
    case Fault::kExpired403:
      return "expired token, 403";
    case Fault::kResetAfter:
      return "reset after the request";
    case Fault::kResetInAnswer:
      return "reset in the answer";
    case Fault::kAnswer500After:
      return "500 after the target";
    case Fault::kTruncate:
      return "truncated body";
    case Fault::kWrongEtag:
      return "wrong ETag";
    case Fault::kFlipByte:
      return "flipped byte";
    case Fault::kTrickle:
      return "trickle";
    case Fault::kStallInAnswer:
      return "stall in the answer";
    case Fault::kDelay:
      return "delay";
    case Fault::kDuplicate:
      return "duplicate";
    case Fault::kStall:
      return "stall";
  }
  return "?";
}

uint64_t FaultProxy::Counts::injected() const {
  uint64_t sum = 0;
  for (const auto& [fault, count] : faults) sum += count;
  return sum;
}

class FaultProxy::Impl {
 public:
  Impl(tcp::endpoint target, uint64_t seed) : target_(std::move(target)), random_(seed) {}
  ~Impl();

  boost::system::error_code Listen();
  void Serve() {
    acceptor_thread_ = std::thread([this] { AcceptAll(); });
  }
  const std::string& address() const { return address_; }

  void Inject(Match match, Injection injection);
  void InjectByChance(double probability, std::vector<Injection> injections);
  void Clear();
  void Refuse(bool refuse);
  void ResetAll();
  Counts counts() const;
  bool AwaitOpen(uint64_t at_most) const;

 private:
  enum class Next { kGoOn, kClose, kReset };
  struct Session {
    std::thread thread;
    std::atomic<bool> over = false;
  };
  // Who may block on a socket, so that others can end it.
  class Registered;

  void AcceptAll();
  bool AwaitListening();
  void Begin(tcp::socket client);
  void ServeClient(tcp::socket client);
  std::optional<Injection> Choose(const HttpHead& request);
  Next Handle(HttpStream& client, Message& request, const std::optional<Injection>& injection);
  Next GiveAnswer(HttpStream& client, Message& answer, bool has_body,
                  const std::optional<Injection>& injection);
  bool Forward(const Message& request, Message& answer);
  static bool HasBody(const Message& request, const HttpHead& answer);

  const tcp::endpoint target_;
  boost::asio::io_context io_;  // sockets want one; nothing runs on it
  tcp::acceptor acceptor_{io_};
  std::string address_;

  mutable Mutex mutex_;
  mutable CondVar changed_;
  storage::SeededRandom random_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<Match, Injection>> scripts_ ABSL_GUARDED_BY(mutex_);
  double probability_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Injection> by_chance_ ABSL_GUARDED_BY(mutex_);
  bool refusing_ ABSL_GUARDED_BY(mutex_) = false;
  bool parked_ ABSL_GUARDED_BY(mutex_) = false;  // nobody accepts
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<int> clients_ ABSL_GUARDED_BY(mutex_);  // descriptors
  std::set<int> targets_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);

  std::list<Session> sessions_;  // of the accepting thread
  std::thread acceptor_thread_;
};

// Closes the socket in the end, under the lock: nobody shuts down a descriptor that is another's by then.
class FaultProxy::Impl::Registered {
 public:
  Registered(Impl& impl, std::set<int> Impl::*set, tcp::socket socket)
      : impl_(impl), set_(set), stream_(std::move(socket)) {
    MutexLock lock(impl_.mutex_);
    (impl_.*set_).insert(descriptor());
    // Too late for the destructor, which shuts down those it knows.
    if (impl_.stopping_) ::shutdown(descriptor(), SHUT_RDWR);
  }
  ~Registered() {
    MutexLock lock(impl_.mutex_);
    (impl_.*set_).erase(descriptor());
    boost::system::error_code ignored;
    stream_.socket().close(ignored);
    impl_.counts_.open = impl_.clients_.size();
    impl_.changed_.NotifyAll();
  }
  HttpStream& stream() { return stream_; }
  int descriptor() { return stream_.socket().native_handle(); }

 private:
  Impl& impl_;
  std::set<int> Impl::*const set_;
  HttpStream stream_;
};

boost::system::error_code FaultProxy::Impl::Listen() {
  boost::system::error_code error;
  tcp::endpoint endpoint(boost::asio::ip::address_v4::loopback(), 0);
  // Bound once more to the port that the system chose: only then it stays ours while nobody listens.
  for (int i = 0; i < 2 && !error; ++i) {
    acceptor_.close(error);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) endpoint = acceptor_.local_endpoint(error);
  }
  if (!error) acceptor_.listen(128, error);
  address_ = fmt::format("127.0.0.1:{}", endpoint.port());
  return error;
}

FaultProxy::Impl::~Impl() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    for (const int descriptor : clients_) ::shutdown(descriptor, SHUT_RDWR);
    for (const int descriptor : targets_) ::shutdown(descriptor, SHUT_RDWR);
    changed_.NotifyAll();
  }
  if (acceptor_thread_.joinable()) acceptor_thread_.join();
  for (Session& session : sessions_) session.thread.join();
}

bool FaultProxy::Impl::AwaitListening() {
  MutexLock lock(mutex_);
  while (refusing_ && !stopping_) {
    parked_ = true;
    changed_.NotifyAll();
    changed_.Wait(mutex_);
  }
  return !stopping_;
}

void FaultProxy::Impl::AcceptAll() {
  while (AwaitListening()) {
    boost::system::error_code error;
    tcp::socket client = acceptor_.accept(error);
    if (!error) Begin(std::move(client));
  }
}

void FaultProxy::Impl::Begin(tcp::socket client) {
  for (auto session = sessions_.begin(); session != sessions_.end();) {
    if (!session->over) {
      ++session;
      continue;
    }
    session->thread.join();
    session = sessions_.erase(session);
  }
  Session& session = sessions_.emplace_back();
  session.thread = std::thread([this, &session, client = std::move(client)]() mutable {
    ServeClient(std::move(client));
    session.over = true;
  });
}

void FaultProxy::Impl::ServeClient(tcp::socket client) {
  boost::system::error_code ignored;
  client.set_option(tcp::no_delay(true), ignored);
  Registered registered(*this, &Impl::clients_, std::move(client));
  {
    MutexLock lock(mutex_);
    ++counts_.connections;
    counts_.open = clients_.size();
    changed_.NotifyAll();
  }
  Message request;
  Next next = Next::kGoOn;
  while (next == Next::kGoOn && registered.stream().ReadHead(request.head)) {
    next = Handle(registered.stream(), request, Choose(request.head));
  }
  if (next == Next::kReset) SetToReset(registered.descriptor());
}

std::optional<Injection> FaultProxy::Impl::Choose(const HttpHead& request) {
  MutexLock lock(mutex_);
  ++counts_.requests;
  std::optional<Injection> chosen;
  for (auto& [match, injection] : scripts_) {
    if (match.times == 0 || (!match.method.empty() && match.method != request.Word(0))) continue;
    if (request.Word(1).find(match.path) == std::string_view::npos) continue;
    if (match.nth > 1) {
      --match.nth;
    } else if (!chosen.has_value()) {
      --match.times;
      chosen = injection;
    }
  }
  const double chance = static_cast<double>(random_.Next() >> 11) * 0x1p-53;
  if (!chosen.has_value() && !by_chance_.empty() && chance < probability_) {
    chosen = by_chance_[random_.Next() % by_chance_.size()];
  }
  if (chosen.has_value()) ++counts_.faults[chosen->fault];
  return chosen;
}

FaultProxy::Impl::Next FaultProxy::Impl::Handle(HttpStream& client, Message& request,
                                                const std::optional<Injection>& injection) {
  const auto suffers = [&](Fault fault) { return injection.has_value() && injection->fault == fault; };
  if (suffers(Fault::kResetBefore)) return Next::kReset;
  if (request.head.Header("expect").has_value()) {
    request.head.RemoveHeader("expect");
    if (!client.Write("HTTP/1.1 100 Continue\r\n\r\n")) return Next::kClose;
  }
  const bool is_cut = suffers(Fault::kResetInRequest);
  const uint64_t most = is_cut ? injection->bytes : HttpStream::kMostBytes;
  if (!client.ReadBody(request.head, false, request.body, most)) return Next::kClose;
  if (is_cut) return Next::kReset;
  const bool closes = request.head.Header("connection") == "close";
  const bool may_have_body = request.head.Word(0) != "HEAD";
  const std::optional<std::string> canned =
      injection.has_value() ? CannedAnswer(injection->fault, may_have_body) : std::nullopt;
  Message answer;
  if (!canned.has_value() || suffers(Fault::kAnswer500After)) {
    if (suffers(Fault::kStall) && !Pause(client.socket(), injection->time)) return Next::kClose;
    if (!Forward(request, answer)) return Next::kReset;
    if (suffers(Fault::kDuplicate) && !Forward(request, answer)) return Next::kReset;
    if (suffers(Fault::kResetAfter)) return Next::kReset;
  }
  if (canned.has_value()) return client.Write(*canned) && !closes ? Next::kGoOn : Next::kClose;
  const Next next = GiveAnswer(client, answer, HasBody(request, answer.head), injection);
  return closes && next == Next::kGoOn ? Next::kClose : next;
}

bool FaultProxy::Impl::HasBody(const Message& request, const HttpHead& answer) {
  const std::string_view status = answer.Word(1);
  return request.head.Word(0) != "HEAD" && status != "204" && status != "304";
}

FaultProxy::Impl::Next FaultProxy::Impl::GiveAnswer(HttpStream& client, Message& answer, bool has_body,
                                                    const std::optional<Injection>& injection) {
  const bool unbounded = has_body && !answer.head.Header("content-length").has_value() &&
                         !answer.head.Header("transfer-encoding").has_value();
  const bool closes = unbounded || answer.head.Header("connection") == "close";
  const Injection what = injection.value_or(Injection{Fault::kDelay});
  const uint64_t cut = std::min<uint64_t>(what.bytes, answer.body.size());
  if (what.fault == Fault::kWrongEtag) {
    answer.head.ReplaceHeader("etag", "\"00000000000000000000000000000000\"");
  }
  if (what.fault == Fault::kFlipByte && !answer.body.empty()) {
    answer.body[what.bytes % answer.body.size()] ^= 1;
  }
  if (what.fault == Fault::kDelay && what.time.count() > 0 && !Pause(client.socket(), what.time)) {
    return Next::kClose;
  }
  const std::string all = answer.head.text + answer.body;
  const uint64_t head = answer.head.text.size();
  std::string_view rest = all;
  if (what.fault == Fault::kResetInAnswer || what.fault == Fault::kTruncate) {
    client.Write(rest.substr(0, head + cut));
    return what.fault == Fault::kTruncate ? Next::kClose : Next::kReset;
  }
  if (what.fault == Fault::kStallInAnswer) {
    if (!client.Write(rest.substr(0, head + cut))) return Next::kClose;
    if (!Pause(client.socket(), what.time)) return Next::kClose;
    rest.remove_prefix(head + cut);
  }
  while (what.fault == Fault::kTrickle && !rest.empty()) {
    const std::string_view piece = rest.substr(0, std::max<uint64_t>(1, what.bytes));
    if (!client.Write(piece)) return Next::kClose;
    rest.remove_prefix(piece.size());
    if (what.time.count() > 0 && !Pause(client.socket(), what.time)) return Next::kClose;
  }
  return client.Write(rest) && !closes ? Next::kGoOn : Next::kClose;
}

bool FaultProxy::Impl::Forward(const Message& request, Message& answer) {
  tcp::socket socket(io_);
  boost::system::error_code error;
  socket.connect(target_, error);
  if (error) return false;
  socket.set_option(tcp::no_delay(true), error);
  Registered target(*this, &Impl::targets_, std::move(socket));
  if (!target.stream().Write(request.head.text) || !target.stream().Write(request.body)) return false;
  {
    MutexLock lock(mutex_);
    ++counts_.forwarded;
  }
  do {
    if (!target.stream().ReadHead(answer.head)) return false;
  } while (answer.head.Word(1).starts_with("1"));
  answer.body.clear();
  return !HasBody(request, answer.head) || target.stream().ReadBody(answer.head, true, answer.body);
}

void FaultProxy::Impl::Inject(Match match, Injection injection) {
  MutexLock lock(mutex_);
  scripts_.emplace_back(std::move(match), injection);
}

void FaultProxy::Impl::InjectByChance(double probability, std::vector<Injection> injections) {
  MutexLock lock(mutex_);
  probability_ = probability;
  by_chance_ = std::move(injections);
}

void FaultProxy::Impl::Clear() {
  {
    MutexLock lock(mutex_);
    scripts_.clear();
    by_chance_.clear();
  }
  Refuse(false);
}

void FaultProxy::Impl::Refuse(bool refuse) {
  MutexLock lock(mutex_);
  if (refusing_ == refuse) return;
  refusing_ = refuse;
  if (refuse) {
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    while (!parked_) changed_.Wait(mutex_);
  } else {
    ::listen(acceptor_.native_handle(), 128);
    parked_ = false;
    changed_.NotifyAll();
  }
}

void FaultProxy::Impl::ResetAll() {
  MutexLock lock(mutex_);
  for (const int descriptor : clients_) {
    SetToReset(descriptor);
    ::shutdown(descriptor, SHUT_RD);  // wakes its thread and tells the peer nothing
  }
  for (const int descriptor : targets_) ::shutdown(descriptor, SHUT_RDWR);
}

FaultProxy::Counts FaultProxy::Impl::counts() const {
  MutexLock lock(mutex_);
  return counts_;
}

bool FaultProxy::Impl::AwaitOpen(uint64_t at_most) const {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  MutexLock lock(mutex_);
  while (clients_.size() > at_most) {
    if (!changed_.WaitUntil(mutex_, deadline)) return false;
  }
  return true;
}

FaultProxy::FaultProxy(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FaultProxy::~FaultProxy() = default;

absl::StatusOr<std::unique_ptr<FaultProxy>> FaultProxy::Start(const std::string& target, uint64_t seed) {
  const size_t colon = target.rfind(':');
  const int port = colon == target.npos ? 0 : std::atoi(target.c_str() + colon + 1);
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(target.substr(0, colon), error);
  if (error || port <= 0) {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is no target: give 127.0.0.1:PORT", target));
  }
  auto impl = std::make_unique<Impl>(tcp::endpoint(address, static_cast<uint16_t>(port)), seed);
  if (error = impl->Listen(); error) {
    return absl::UnavailableError(fmt::format("cannot listen on 127.0.0.1: {}", error.message()));
  }
  impl->Serve();
  return std::unique_ptr<FaultProxy>(new FaultProxy(std::move(impl)));
}

const std::string& FaultProxy::address() const { return impl_->address(); }
void FaultProxy::Inject(Match match, Injection injection) { impl_->Inject(std::move(match), injection); }
void FaultProxy::InjectByChance(double probability, std::vector<Injection> injections) {
  impl_->InjectByChance(probability, std::move(injections));
}
void FaultProxy::Clear() { impl_->Clear(); }
void FaultProxy::Refuse(bool refuse) { impl_->Refuse(refuse); }
void FaultProxy::ResetAll() { impl_->ResetAll(); }
FaultProxy::Counts FaultProxy::counts() const { return impl_->counts(); }
bool FaultProxy::AwaitOpen(uint64_t at_most) const { return impl_->AwaitOpen(at_most); }

}  // namespace thermocline::testing
