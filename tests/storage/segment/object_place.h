#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "storage/object_store.h"

// Where a suite of segments keeps its objects. The suite is compiled once for each program that runs it; the
// program says what places there are by the file it is linked with: memory_place.cc or s3_place.cc.
namespace thermocline::testing {

// An object store that begins empty. Expects, when it goes, that nothing unfinished was left in it.
class ObjectPlace {
 public:
  virtual ~ObjectPlace() = default;

  virtual storage::ObjectStore& store() = 0;
};

// What NewObjectPlace takes.
std::vector<std::string> ObjectPlaceNames();
std::unique_ptr<ObjectPlace> NewObjectPlace(const std::string& name);

// How many seeds a random test should take at each of them.
uint64_t ObjectPlaceSeeds();

}  // namespace thermocline::testing
