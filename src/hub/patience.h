// When a request is made again.
#pragma once
#include <string>

#include "eav/progress.h"
#include "hub/http.h"

namespace eav {

// Counts failures that follow one another without anything having come, and waits longer after each.
class Patience {
 public:
  explicit Patience(Progress& progress) : progress_(progress) {}

  // Whether an answer says that another try may help: a broken connection, too many requests, a server that is down.
  static bool may_help(const Answer& answer);
  // Something came: the count begins anew.
  void renew() { failures_ = 0; }
  // Waits before the next try, as long as the answer asks for or longer each time. Throws eav::Error, which names
  // `what`, where that was the last one; and Cancelled.
  void wait(const Answer& answer, const std::string& what);

 private:
  Progress& progress_;
  int failures_ = 0;
};

}  // namespace eav
