#include "tests/storage/segment/memory_objects.h"
#include "tests/storage/segment/object_place.h"

namespace thermocline::testing {
namespace {

class MemoryPlace : public ObjectPlace {
 public:
  storage::ObjectStore& store() override { return objects_; }

 private:
  MemoryObjects objects_;
};

}  // namespace

std::vector<std::string> ObjectPlaceNames() { return {"memory"}; }
std::unique_ptr<ObjectPlace> NewObjectPlace(const std::string&) { return std::make_unique<MemoryPlace>(); }
uint64_t ObjectPlaceSeeds() { return 4; }

}  // namespace thermocline::testing
