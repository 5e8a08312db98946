#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "tests/load/call.h"

namespace thermocline::load {

// The calls of a protocol that answers in the order of the questions: whose answer comes next.
class PendingCalls {
 public:
  struct Next {
    uint32_t ticket = 0;
    uint32_t index = 0;  // of the item
    Call::Verb verb = Call::Verb::kGet;
  };

  // Expects an answer for each of `items` items.
  void Add(uint32_t ticket, Call::Verb verb, uint32_t items) {
    calls_.push_back({ticket, verb, items, 0, {}});
  }
  bool empty() const { return calls_.empty(); }
  // Of the oldest call; there must be one.
  Next next() const { return {calls_.front().ticket, calls_.front().answered, calls_.front().verb}; }
  uint32_t items() const { return calls_.front().items; }

  // The next item succeeded (empty `error`) or failed: ends its call if it was its last.
  void Answer(std::string_view error, Answers& answers) {
    State& call = calls_.front();
    if (!error.empty() && call.error.empty()) call.error = error;
    if (++call.answered < call.items) return;
    const State ended = std::move(call);
    calls_.pop_front();
    answers.OnEnd(ended.ticket, ended.error);
  }
  // All remaining items of the oldest call at once.
  void AnswerAll(std::string_view error, Answers& answers) {
    calls_.front().answered = calls_.front().items - 1;
    Answer(error, answers);
  }

 private:
  struct State {
    uint32_t ticket;
    Call::Verb verb;
    uint32_t items;
    uint32_t answered;
    std::string error;
  };
  std::deque<State> calls_;
};

}  // namespace thermocline::load
