// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ManagerFixture} from "../kit/ManagerFixture.sol";
import {TokenMock} from "../kit/Tokens.sol";

contract ManagerReentryTest is ManagerFixture {
    /// @dev While money moves, the books are not final.
    function test_GivenATokenThatTellsPeopleAndOneWhoReenters() external {
        Reenterer re = new Reenterer(manager, address(token));
        vm.etch(address(token), address(new TellingToken()).code);
        token.mint(address(re), 10 * MIN);
        TellingToken(address(token)).setListener(address(re));
        uint256 sessionId = re.create(MIN);
        vm.assertEq(re.tried(), re.attempts(sessionId).length);
        re.renew(sessionId, MIN);
        re.close(sessionId);
        vm.assertEq(re.tried(), 3 * re.attempts(sessionId).length);
        vm.assertEq(token.balanceOf(address(re)), 10 * MIN);
    }

    /// @dev The callback comes when everything is written: it may lead to the next question.
    function test_GivenATargetThatReenters() external restsNowhere {
        uint256 foreign = create(bob, MIN);
        Reenterer re = new Reenterer(manager, address(token));
        token.mint(address(re), 10 * MIN);
        uint256 sessionId = re.create(MIN);
        IDtnAi.BatchRequest memory asked = hello();
        asked.callback = IDtnAi.CallBack(Reenterer.askAgain.selector, 0, address(re));
        asked.callbackGas = 2_000_000;
        re.aim(sessionId, foreign, asked);
        vm.recordLogs();
        re.ask();
        answer(publishedTerms(), "hi");
        vm.assertEq(re.tried(), 1);
        vm.assertEq(inFlight(sessionId), helloHold());
        vm.assertEq(free(foreign), MIN);
    }
}

/// @notice The fixtures' token, once it tells somebody of every transfer, as ERC-777 does.
contract TellingToken is TokenMock(6) {
    address private _listener;

    function setListener(address listener) external {
        _listener = listener;
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (_listener != address(0) && (_listener == from || _listener == to)) Reenterer(_listener).onTransfer();
    }
}

/// @notice Tries everything that the manager has, whenever it is told.
contract Reenterer {
    ISessionManager private immutable MANAGER;
    uint256 public tried;
    uint256 private _own;
    uint256 private _foreign;
    IDtnAi.BatchRequest private _asked;

    error Entered(uint256 attempt, bytes4 reason);

    constructor(ISessionManager manager, address token) {
        MANAGER = manager;
        TokenMock(token).approve(address(manager), type(uint256).max);
    }

    function create(uint256 balance) external returns (uint256) {
        return MANAGER.createSession(balance);
    }

    function renew(uint256 sessionId, uint256 amount) external {
        MANAGER.renewSession(sessionId, amount);
    }

    function close(uint256 sessionId) external {
        MANAGER.closeSession(sessionId);
    }

    function aim(uint256 own, uint256 foreign, IDtnAi.BatchRequest memory asked) external {
        (_own, _foreign) = (own, foreign);
        (_asked.modelId, _asked.routing, _asked.request) = (asked.modelId, asked.routing, asked.request);
        (_asked.callback, _asked.callbackGas) = (asked.callback, asked.callbackGas);
    }

    function ask() external {
        MANAGER.makeAIRequest(_own, _asked);
    }

    /// @dev The callback.
    function askAgain(bytes32) external {
        tried++;
        MANAGER.makeAIRequest(_own, _asked);
        try MANAGER.makeAIRequest(_foreign, _asked) {
            revert Entered(0, 0);
        } catch (bytes memory reason) {
            if (bytes4(reason) != ISessionManager.SessionManager_SessionNotFound.selector) {
                revert Entered(1, bytes4(reason));
            }
        }
    }

    function onTransfer() external {
        bytes[] memory calls = attempts(_own);
        for (uint256 i = 0; i < calls.length; i++) {
            (bool done, bytes memory reason) = address(MANAGER).call(calls[i]);
            if (done || bytes4(reason) != ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector) {
                revert Entered(i, bytes4(reason));
            }
            tried++;
        }
    }

    function attempts(uint256 id) public view returns (bytes[] memory calls) {
        calls = new bytes[](16);
        calls[0] = abi.encodeCall(MANAGER.createSession, (1));
        calls[1] = abi.encodeCall(MANAGER.createSessionWithPermit, (1, 0, 0, 0, 0));
        calls[2] = abi.encodeCall(MANAGER.getOrCreateSession, ());
        calls[3] = abi.encodeCall(MANAGER.renewSession, (id, 1));
        calls[4] = abi.encodeCall(MANAGER.closeSession, (id));
        calls[5] = abi.encodeWithSignature("closeAllSessions()");
        calls[6] = abi.encodeWithSignature("closeAllSessions(uint256)", 1);
        calls[7] = abi.encodeCall(MANAGER.cleanupOldSessions, (1));
        calls[8] = abi.encodeCall(MANAGER.withdraw, (address(this)));
        calls[9] = abi.encodeCall(MANAGER.withdrawTo, (address(this)));
        calls[10] = abi.encodeCall(MANAGER.makeAIRequests, (id, new IDtnAi.BatchRequest[](0)));
        calls[11] = abi.encodeCall(MANAGER.addToPool, (id, 1, 1));
        calls[12] = abi.encodeCall(MANAGER.removeFromPool, (id));
        calls[13] = abi.encodeWithSignature("getFromPool()");
        calls[14] = abi.encodeWithSignature("getFromPool(uint256)", id);
        calls[15] = abi.encodeCall(MANAGER.returnToPool, (id));
    }
}
