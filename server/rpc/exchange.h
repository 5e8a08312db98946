#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"

namespace thermocline::server::rpc {

class Call;

// What a method does with one call. It owns itself: it lives until it has finished the call or the call has
// gone, and its own work is done as well. Everything happens on the thread of the call's loop.
class Exchange {
 public:
  // A whole message of the client; the view lives for the call. May finish the call.
  virtual void OnMessage(std::string_view message) = 0;
  // The client has sent its last message.
  virtual void OnEnd() = 0;
  // Call::backlogged() was true and is so no more.
  virtual void OnWritable() {}
  // Whether it is writing, or has written: then nobody may be told that nothing has happened.
  virtual bool wrote() const { return false; }
  // The call is over, for the client has left, its deadline has passed or the server stops: the Call is no
  // more.
  virtual void OnGone() = 0;

 protected:
  virtual ~Exchange() = default;
};

class Method {
 public:
  virtual ~Method() = default;

  // A new exchange for a call, which may finish it at once; then nullptr. Called by all loops.
  virtual Exchange* Start(Call& call) = 0;
};

// All methods that are served, by their paths: "/package.Service/Method". Immutable while it is in use.
class Methods {
 public:
  void Add(std::string path, std::unique_ptr<Method> method) {
    methods_.emplace(std::move(path), std::move(method));
  }

  // nullptr: there is none.
  Method* Find(const std::string& path) const {
    const auto found = methods_.find(path);
    return found == methods_.end() ? nullptr : found->second.get();
  }

 private:
  absl::flat_hash_map<std::string, std::unique_ptr<Method>> methods_;
};

}  // namespace thermocline::server::rpc
