// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {ManagerFixture} from "../kit/ManagerFixture.sol";

/// @notice What the session manager's calls cost, whole receipts, with other users' sessions around.
/// forge-config: default.isolate = true
contract ManagerGasTest is ManagerFixture {
    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < 3; i++) {
            create(bob, MIN);
        }
    }

    function test_Create() external {
        create(ann, MIN);
        measure("create, the user's first");
        create(ann, MIN);
        measure("create, later");
    }

    function test_GetOrCreate() external {
        create(ann, MIN);
        create(bob, MIN);
        getOrCreate(ann);
        measure("get or create, found");
    }

    function test_RequestAndCallback() external {
        uint256 sessionId = create(ann, MIN);
        create(bob, MIN);
        (, bytes memory terms) = askOf(ann, sessionId);
        measure("request");
        answer(terms, "Sunny.");
        askOf(ann, sessionId);
        measure("request again, reused slot");
        IDtnAi.BatchRequest[] memory batch = new IDtnAi.BatchRequest[](4);
        for (uint256 i = 0; i < 4; i++) {
            batch[i] = hello();
        }
        vm.prank(ann.addr);
        manager.makeAIRequests(sessionId, batch);
        vm.snapshotValue("session-manager", "batch of four, each", vm.lastCallGas().gasTotalUsed / 4);
    }

    function test_RenewAndClose() external {
        uint256 sessionId = create(ann, MIN);
        create(bob, MIN);
        vm.prank(ann.addr);
        manager.renewSession(sessionId, MIN);
        measure("renew");
        vm.prank(ann.addr);
        manager.closeSession(sessionId);
        measure("close and refund");
    }

    function test_Pool() external {
        uint256 sessionId = create(ann, MIN);
        share(ann, sessionId, MIN, MIN);
        measure("add to pool");
        take(bob);
        measure("take from pool");
        vm.prank(bob.addr);
        manager.returnToPool(sessionId);
        measure("return to pool");
    }

    function test_CleanUp() external {
        vm.warp(block.timestamp + AGE + 1);
        manager.cleanupOldSessions(3);
        vm.snapshotValue("session-manager", "clean-up of three, each", vm.lastCallGas().gasTotalUsed / 3);
    }

    function measure(string memory step) private {
        vm.snapshotGasLastCall("session-manager", step);
    }
}
