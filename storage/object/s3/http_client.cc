#include "storage/object/s3/http_client.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <future>
#include <mutex>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include <curl/curl.h>
#include <fmt/format.h>

namespace thermocline::storage::s3 {
namespace {

using Outcome = HttpAnswer::Outcome;

// What libcurl and the kernel may hold of one connection, each way.
constexpr long kCurlBufferBytes = 128 << 10;
constexpr int kSocketBufferBytes = 512 << 10;
constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr long kMaxIdleSeconds = 50;  // servers close a connection that is not used for about a minute

bool InitialiseCurl() {
  static std::once_flag once;
  static bool initialised = false;
  std::call_once(once, [] { initialised = curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK; });
  return initialised;
}

Outcome OutcomeOf(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return Outcome::kAnswered;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      return Outcome::kUnreachable;
    case CURLE_OPERATION_TIMEDOUT:
      return Outcome::kTimeout;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return Outcome::kUntrusted;
    case CURLE_WRITE_ERROR:
      return Outcome::kUnexpected;
    default:
      return Outcome::kCut;
  }
}

int SetSocket(void*, curl_socket_t socket, curlsocktype) {
  // Bounds what the kernel reads ahead of us. Not granted: then it is bounded by the system.
  setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &kSocketBufferBytes, sizeof kSocketBufferBytes);
  return CURL_SOCKOPT_OK;
}

curl_socket_t OpenSocket(void* count, curlsocktype, curl_sockaddr* address) {
  const int opened = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (opened < 0) return CURL_SOCKET_BAD;
  static_cast<std::atomic<uint64_t>*>(count)->fetch_add(1, std::memory_order_relaxed);
  return opened;
}

int CloseSocket(void* count, curl_socket_t socket) {
  static_cast<std::atomic<uint64_t>*>(count)->fetch_sub(1, std::memory_order_relaxed);
  return close(socket);
}

std::string_view Stripped(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

}  // namespace

struct HttpClient::Multi {
  CURLM* handle = curl_multi_init();
  std::atomic<uint64_t> sockets{0};

  ~Multi() { curl_multi_cleanup(handle); }
};

// An easy handle with the call it serves, one after the other.
class HttpClient::Transfer {
 public:
  Transfer() : easy_(curl_easy_init()) {}
  ~Transfer() {
    curl_slist_free_all(headers_);
    curl_easy_cleanup(easy_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  CURL* easy() const { return easy_; }
  HttpCall& call() { return call_; }

  void Prepare(HttpCall call, const HttpOptions& options, std::atomic<uint64_t>& sockets);
  HttpAnswer Result(CURLcode code);
  uint64_t sent() const { return Size(CURLINFO_SIZE_UPLOAD_T); }
  uint64_t received() const { return Size(CURLINFO_SIZE_DOWNLOAD_T); }

 private:
  static size_t OnHeader(char* bytes, size_t size, size_t count, void* transfer) {
    return static_cast<Transfer*>(transfer)->TakeHeader({bytes, size * count}) ? size * count : 0;
  }
  static int OnRequest(void* transfer, char*, char*, int, int) {
    ++static_cast<Transfer*>(transfer)->sendings_;
    return CURL_PREREQFUNC_OK;
  }
  static size_t OnBody(char* bytes, size_t size, size_t count, void* transfer) {
    return static_cast<Transfer*>(transfer)->TakeBody({bytes, size * count}) ? size * count : 0;
  }

  void SetMethod();
  void SetLimits();
  void SetConnection(const HttpOptions& options, std::atomic<uint64_t>& sockets);
  bool TakeHeader(std::string_view line);
  bool TakeBody(std::string_view bytes);
  template <typename Value>
  void Set(CURLoption option, Value value) {
    curl_easy_setopt(easy_, option, value);
  }
  uint64_t Size(CURLINFO info) const {
    curl_off_t bytes = 0;
    curl_easy_getinfo(easy_, info, &bytes);
    return static_cast<uint64_t>(bytes);
  }

  CURL* const easy_;
  HttpCall call_;
  HttpRequest request_;
  HttpAnswer answer_;
  curl_slist* headers_ = nullptr;
  size_t header_bytes_ = 0;
  int sendings_ = 0;  // of the request
  char error_[CURL_ERROR_SIZE] = {};
};

void HttpClient::Transfer::Prepare(HttpCall call, const HttpOptions& options,
                                   std::atomic<uint64_t>& sockets) {
  call_ = std::move(call);
  request_ = call_.begin();
  answer_ = HttpAnswer();
  header_bytes_ = 0;
  sendings_ = 0;
  error_[0] = 0;
  curl_easy_reset(easy_);
  curl_slist_free_all(std::exchange(headers_, nullptr));
  for (const std::string& header : request_.headers) headers_ = curl_slist_append(headers_, header.c_str());
  headers_ = curl_slist_append(headers_, "Expect:");
  headers_ = curl_slist_append(headers_, "Accept:");
  Set(CURLOPT_PRIVATE, this);
  Set(CURLOPT_HTTPHEADER, headers_);
  Set(CURLOPT_URL, request_.url.c_str());
  Set(CURLOPT_PATH_AS_IS, 1L);
  Set(CURLOPT_HEADERFUNCTION, &OnHeader);
  Set(CURLOPT_HEADERDATA, this);
  Set(CURLOPT_WRITEFUNCTION, &OnBody);
  Set(CURLOPT_WRITEDATA, this);
  Set(CURLOPT_PREREQFUNCTION, &OnRequest);
  Set(CURLOPT_PREREQDATA, this);
  Set(CURLOPT_ERRORBUFFER, error_);
  SetMethod();
  SetLimits();
  SetConnection(options, sockets);
}

void HttpClient::Transfer::SetMethod() {
  if (request_.method == "HEAD") {
    Set(CURLOPT_NOBODY, 1L);
  } else if (request_.method == "PUT" || request_.method == "POST") {
    // Not CURLOPT_UPLOAD: from memory libcurl can begin again by itself where a kept connection was gone.
    Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    Set(CURLOPT_POSTFIELDS, request_.body.empty() ? "" : request_.body.data());
    Set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  } else {
    Set(CURLOPT_HTTPGET, 1L);
    Set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  }
}

void HttpClient::Transfer::SetLimits() {
  Set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<int64_t>(1, request_.deadline.count())));
  Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::max<int64_t>(1, request_.connect_deadline.count())));
  if (request_.stall_limit.count() > 0) {
    Set(CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(request_.stall_bytes_per_second));
    Set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(std::max<int64_t>(1, request_.stall_limit.count() / 1000)));
  }
  Set(CURLOPT_BUFFERSIZE, kCurlBufferBytes);
  Set(CURLOPT_UPLOAD_BUFFERSIZE, kCurlBufferBytes);
}

void HttpClient::Transfer::SetConnection(const HttpOptions& options, std::atomic<uint64_t>& sockets) {
  Set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  Set(CURLOPT_PROTOCOLS_STR, "http,https");
  Set(CURLOPT_PROXY, "");
  Set(CURLOPT_NOSIGNAL, 1L);
  Set(CURLOPT_QUICK_EXIT, 1L);  // else a name server that does not answer would hold up the thread
  Set(CURLOPT_TCP_NODELAY, 1L);
  Set(CURLOPT_MAXAGE_CONN, kMaxIdleSeconds);
  Set(CURLOPT_SOCKOPTFUNCTION, &SetSocket);
  Set(CURLOPT_OPENSOCKETFUNCTION, &OpenSocket);
  Set(CURLOPT_OPENSOCKETDATA, &sockets);
  Set(CURLOPT_CLOSESOCKETFUNCTION, &CloseSocket);
  Set(CURLOPT_CLOSESOCKETDATA, &sockets);
  if (!options.ca_file.empty()) {
    Set(CURLOPT_CAINFO, options.ca_file.c_str());
    Set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  }
}

bool HttpClient::Transfer::TakeHeader(std::string_view line) {
  if (line.starts_with("HTTP/")) {
    // After an answer 1xx comes another one.
    answer_.headers.clear();
    header_bytes_ = 0;
    return true;
  }
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxHeaderBytes) return false;
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  std::string name(Stripped(line.substr(0, colon)));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  answer_.headers[std::move(name)] = std::string(Stripped(line.substr(colon + 1)));
  return true;
}

bool HttpClient::Transfer::TakeBody(std::string_view bytes) {
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  if (status >= 200 && status < 300 && !request_.sink.empty()) {
    const bool in_range = status == 206 && answer_.header("content-range").starts_with(request_.sink_range);
    if (!in_range || bytes.size() > request_.sink.size() - answer_.sunk) return false;
    std::memcpy(request_.sink.data() + answer_.sunk, bytes.data(), bytes.size());
    answer_.sunk += bytes.size();
    return true;
  }
  if (bytes.size() > request_.max_body_bytes - answer_.body.size()) return false;
  answer_.body += bytes;
  return true;
}

HttpAnswer HttpClient::Transfer::Result(CURLcode code) {
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  answer_.status = static_cast<int>(status);
  answer_.outcome = OutcomeOf(code);
  answer_.resent = sendings_ > 1;
  if (code != CURLE_OK) answer_.error = error_[0] != 0 ? error_ : curl_easy_strerror(code);
  if (code == CURLE_WRITE_ERROR) {
    answer_.error =
        fmt::format("an answer {} that is longer than it may be, or not the range asked for", status);
  }
  return std::move(answer_);
}

const std::string& HttpAnswer::header(const std::string& name) const {
  static const std::string& none = *new std::string;
  const auto found = headers.find(name);
  return found == headers.end() ? none : found->second;
}

absl::StatusOr<std::unique_ptr<HttpClient>> HttpClient::Open(HttpOptions options) {
  if (!InitialiseCurl()) return absl::UnavailableError("libcurl cannot be initialised");
  std::unique_ptr<HttpClient> client(new HttpClient(std::move(options)));
  if (client->multi_->handle == nullptr) return absl::UnavailableError("libcurl has no handle");
  client->thread_ = std::thread([&client = *client] { client.Run(); });
  return client;
}

HttpClient::HttpClient(HttpOptions options)
    : options_(std::move(options)), multi_(std::make_unique<Multi>()), last_answer_(Clock::now()) {
  curl_multi_setopt(multi_->handle, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                    static_cast<long>(options_.max_connections));
  curl_multi_setopt(multi_->handle, CURLMOPT_MAXCONNECTS, static_cast<long>(options_.max_connections));
}

HttpClient::~HttpClient() {
  Close();
  idle_.clear();  // before the multi handle
}

void HttpClient::Close() {
  {
    MutexLock lock(mutex_);
    closing_ = true;
  }
  if (thread_.joinable()) {
    curl_multi_wakeup(multi_->handle);
    thread_.join();
  }
}

void HttpClient::Submit(HttpCall call) {
  {
    MutexLock lock(mutex_);
    if (!closed_) {
      waiting_count_.fetch_add(1, std::memory_order_relaxed);
      submitted_.push_back(std::move(call));
      curl_multi_wakeup(multi_->handle);
      return;
    }
  }
  HttpAnswer answer;
  answer.error = "the client was closed";
  call.done(std::move(answer));
}

void HttpClient::Post(absl::AnyInvocable<void()> task) {
  {
    MutexLock lock(mutex_);
    if (!closed_) {
      posted_.push_back(std::move(task));
      curl_multi_wakeup(multi_->handle);
      return;
    }
  }
  task();
}

void HttpClient::Cancel(const CancelFlag& flag) {
  flag->store(true);
  MutexLock lock(mutex_);
  cancelled_ = true;
  if (!closed_) curl_multi_wakeup(multi_->handle);
}

HttpAnswer HttpClient::Fetch(HttpRequest request) {
  auto answered = std::make_shared<std::promise<HttpAnswer>>();
  std::future<HttpAnswer> future = answered->get_future();
  HttpCall call;
  call.begin = [&request] { return std::move(request); };
  call.done = [answered](HttpAnswer answer) { answered->set_value(std::move(answer)); };
  call.urgent = true;
  Submit(std::move(call));
  return future.get();
}

HttpCounts HttpClient::counts() const {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  return {sent_.load(kRelaxed), received_.load(kRelaxed), multi_->sockets.load(kRelaxed),
          active_count_.load(kRelaxed), waiting_count_.load(kRelaxed)};
}

void HttpClient::Run() {
  while (TakeSubmitted()) {
    RunPosted();
    StartWaiting();
    int running = 0;
    curl_multi_perform(multi_->handle, &running);
    Harvest();
    GiveUpWaiting();
    curl_multi_poll(multi_->handle, nullptr, 0, PollMs(), nullptr);
  }
  EndAll();
}

// False when the client closes.
bool HttpClient::TakeSubmitted() {
  std::vector<HttpCall> taken;
  bool cancelled = false;
  {
    MutexLock lock(mutex_);
    if (closing_) return false;
    taken.swap(submitted_);
    cancelled = std::exchange(cancelled_, false);
  }
  const Clock::time_point now = Clock::now();
  for (HttpCall& call : taken) {
    if (call.delay.count() > 0) {
      const Clock::time_point due = now + call.delay;
      delayed_.emplace(due, std::move(call));
    } else if (call.urgent) {
      waiting_.push_front({std::move(call), now});
    } else {
      waiting_.push_back({std::move(call), now});
    }
  }
  // A call that has waited already is not put behind those who came meanwhile.
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    waiting_.push_front({std::move(delayed_.begin()->second), now});
    delayed_.erase(delayed_.begin());
  }
  if (cancelled) CancelFlagged();
  return true;
}

void HttpClient::RunPosted() {
  std::vector<absl::AnyInvocable<void()>> posted;
  {
    MutexLock lock(mutex_);
    posted.swap(posted_);
  }
  for (auto& task : posted) task();
}

void HttpClient::CancelFlagged() {
  const auto is_flagged = [](const HttpCall& call) { return call.cancel != nullptr && call.cancel->load(); };
  std::vector<HttpCall> ended;
  for (auto each = waiting_.begin(); each != waiting_.end();) {
    const bool flagged = is_flagged(each->call);
    if (flagged) ended.push_back(std::move(each->call));
    each = flagged ? waiting_.erase(each) : std::next(each);
  }
  for (auto each = delayed_.begin(); each != delayed_.end();) {
    const bool flagged = is_flagged(each->second);
    if (flagged) ended.push_back(std::move(each->second));
    each = flagged ? delayed_.erase(each) : std::next(each);
  }
  waiting_count_.fetch_sub(ended.size(), std::memory_order_relaxed);
  for (size_t i = 0; i < active_.size();) {
    if (!is_flagged(active_[i]->call())) {
      ++i;
      continue;
    }
    curl_multi_remove_handle(multi_->handle, active_[i]->easy());
    ended.push_back(std::move(active_[i]->call()));
    idle_.push_back(std::move(active_[i]));
    active_.erase(active_.begin() + static_cast<ptrdiff_t>(i));
  }
  active_count_.store(active_.size(), std::memory_order_relaxed);
  for (HttpCall& call : ended) {
    HttpAnswer answer;
    answer.error = "cancelled";
    call.done(std::move(answer));
  }
}

void HttpClient::StartWaiting() {
  while (!waiting_.empty() && active_.size() < static_cast<size_t>(options_.max_connections)) {
    if (idle_.empty()) idle_.push_back(std::make_unique<Transfer>());
    std::unique_ptr<Transfer> transfer = std::move(idle_.back());
    idle_.pop_back();
    HttpCall call = std::move(waiting_.front().call);
    waiting_.pop_front();
    waiting_count_.fetch_sub(1, std::memory_order_relaxed);
    if (call.cancel != nullptr && call.cancel->load()) {
      idle_.push_back(std::move(transfer));
      HttpAnswer answer;
      answer.error = "cancelled";
      call.done(std::move(answer));
      continue;
    }
    transfer->Prepare(std::move(call), options_, multi_->sockets);
    curl_multi_add_handle(multi_->handle, transfer->easy());
    active_.push_back(std::move(transfer));
  }
  active_count_.store(active_.size(), std::memory_order_relaxed);
}

void HttpClient::GiveUpWaiting() {
  const Clock::time_point now = Clock::now();
  if (now - last_answer_ < options_.patience) return;
  while (!waiting_.empty() && now - waiting_.front().since > options_.patience) {
    HttpCall call = std::move(waiting_.front().call);
    waiting_.pop_front();
    waiting_count_.fetch_sub(1, std::memory_order_relaxed);
    HttpAnswer answer;
    answer.outcome = Outcome::kTimeout;
    answer.error = "nothing was answered while it waited for a connection";
    call.done(std::move(answer));
  }
}

void HttpClient::Harvest() {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_->handle, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;  // gone with the handle
    CURL* const easy = message->easy_handle;
    const auto found = std::find_if(active_.begin(), active_.end(),
                                    [&](const auto& transfer) { return transfer->easy() == easy; });
    std::unique_ptr<Transfer> transfer = std::move(*found);
    active_.erase(found);
    active_count_.store(active_.size(), std::memory_order_relaxed);
    sent_.fetch_add(transfer->sent(), std::memory_order_relaxed);
    received_.fetch_add(transfer->received(), std::memory_order_relaxed);
    HttpAnswer answer = transfer->Result(code);
    curl_multi_remove_handle(multi_->handle, easy);
    if (answer.status != 0 && answer.status < 500) last_answer_ = Clock::now();
    HttpCall call = std::move(transfer->call());
    idle_.push_back(std::move(transfer));
    call.done(std::move(answer));
  }
}

// What is completed here may submit again.
void HttpClient::EndAll() {
  for (;;) {
    RunPosted();
    std::vector<HttpCall> ended;
    for (auto& transfer : active_) {
      curl_multi_remove_handle(multi_->handle, transfer->easy());
      ended.push_back(std::move(transfer->call()));
    }
    active_.clear();
    for (Waiting& waiting : waiting_) ended.push_back(std::move(waiting.call));
    waiting_.clear();
    for (auto& [due, call] : delayed_) ended.push_back(std::move(call));
    delayed_.clear();
    {
      MutexLock lock(mutex_);
      for (HttpCall& call : submitted_) ended.push_back(std::move(call));
      submitted_.clear();
      closed_ = ended.empty() && posted_.empty();
      if (closed_) return;
    }
    for (HttpCall& call : ended) {
      HttpAnswer answer;
      answer.error = "the client was closed";
      call.done(std::move(answer));
    }
  }
}

int HttpClient::PollMs() {
  {
    MutexLock lock(mutex_);
    if (!submitted_.empty() || !posted_.empty() || closing_) return 0;
  }
  if (!waiting_.empty() && active_.size() < static_cast<size_t>(options_.max_connections)) return 0;
  int64_t wait = 1000;
  if (!delayed_.empty()) {
    const auto until = std::chrono::ceil<std::chrono::milliseconds>(delayed_.begin()->first - Clock::now());
    wait = std::clamp<int64_t>(until.count(), 0, wait);
  }
  return static_cast<int>(wait);
}

}  // namespace thermocline::storage::s3
